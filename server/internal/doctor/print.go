package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// marks are what people see of a state; the one to look for is in capitals.
var marks = map[State]string{OK: "ok", Warning: "warning", Failed: "FAILED"}

// column is where texts begin: after the longest mark and the longest name.
const column = 9 + 13

// Print writes a check for people: a line, and below it what to do, if anything.
func (c Check) Print(w io.Writer) error {
	text := fmt.Sprintf("%-9s%-13s%s\n", marks[c.State], c.Name, c.Text)
	if c.Remedy != "" {
		text += strings.Repeat(" ", column) + c.Remedy + "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// PrintJSON writes a check for programs: one object in one line.
func (c Check) PrintJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		Type   string `json:"message_type"`
		Check  string `json:"check"`
		State  State  `json:"state"`
		Text   string `json:"text"`
		Remedy string `json:"remedy,omitempty"`
	}{"check", c.Name, c.State, c.Text, c.Remedy})
}
