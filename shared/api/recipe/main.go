// Command recipe rewrites the Recipe schema in openapi.yaml from the recipe table of package runspec, so that the
// document cannot say something else than the code. It is run by go generate in package api and touches nothing but
// that one block.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: recipe openapi.yaml")
		os.Exit(2)
	}
	if err := rewrite(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "recipe:", err)
		os.Exit(1)
	}
}

// The lines between which the block stands.
const (
	begin = "      # The table in shared/runspec, written here by go generate.\n"
	end   = "      # End of the table.\n"
)

func rewrite(path string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(old), begin)
	if !ok {
		return errors.New("the line that begins the table is missing")
	}
	_, tail, ok := strings.Cut(rest, end)
	if !ok {
		return errors.New("the line that ends the table is missing")
	}
	table, err := properties(runspec.Fields())
	if err != nil {
		return err
	}
	text := head + begin + table + end + tail
	if text == string(old) {
		return nil
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// property is one field's schema; its JSON is also YAML.
type property struct {
	Type        string   `json:"type"`
	Description string   `json:"description"`
	Minimum     *float64 `json:"minimum,omitempty"`
	Maximum     *float64 `json:"maximum,omitempty"`
	Enum        []string `json:"enum,omitempty"`
	Items       *items   `json:"items,omitempty"`
	Default     any      `json:"default"`
	Auto        bool     `json:"x-auto,omitempty"`
	AutoMinimum *float64 `json:"x-auto-minimum,omitempty"`
}

type items struct {
	Type string   `json:"type"`
	Enum []string `json:"enum,omitempty"`
}

func properties(fields []runspec.Field) (string, error) {
	var b strings.Builder
	b.WriteString("      properties:\n")
	for _, f := range fields {
		p, err := schema(f)
		if err != nil {
			return "", err
		}
		var line bytes.Buffer
		enc := json.NewEncoder(&line)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(p); err != nil {
			return "", fmt.Errorf("field %s: %w", f.Name, err)
		}
		fmt.Fprintf(&b, "        %s: %s", f.Name, line.Bytes())
	}
	return b.String(), nil
}

// schema describes one field. An automatic number may be 0 besides its range, which OpenAPI's minimum cannot say: the
// minimum is 0 then, and x-auto-minimum the least of the others.
func schema(f runspec.Field) (property, error) {
	p := property{Type: string(f.Type), Description: f.Help, Auto: f.Auto}
	text := f.Default(runspec.Quick)
	switch f.Type {
	case runspec.Integer, runspec.Number:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return p, fmt.Errorf("field %s: its default %q is no number", f.Name, text)
		}
		low, high := f.Min, f.Max
		if f.Auto {
			p.AutoMinimum = &f.Min
			low = min(0, low)
		}
		p.Default, p.Minimum, p.Maximum = n, &low, &high
	case runspec.Text:
		p.Default, p.Enum = text, f.Values
	case runspec.List:
		p.Default, p.Items = strings.Split(text, ","), &items{Type: "string", Enum: f.Values}
	default:
		return p, fmt.Errorf("field %s: type %q is not known here", f.Name, f.Type)
	}
	return p, nil
}
