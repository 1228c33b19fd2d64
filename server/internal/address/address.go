// Package address knows what a mail address of a person may look like.
package address

import (
	"fmt"
	"net/mail"
	"strings"
)

// Check tells whether a text is one plain mail address. The error's text goes on from a field's name.
func Check(text string) error {
	a, err := mail.ParseAddress(text)
	if err != nil || a.Address != text || a.Name != "" || strings.ContainsAny(text, "\r\n\x00") {
		return fmt.Errorf("is %q, which is not a mail address such as name@example.org", text)
	}
	return nil
}
