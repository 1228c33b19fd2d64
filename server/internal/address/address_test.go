package address_test

import (
	"testing"

	"github.com/cultivar-ml/cultivar/server/internal/address"
)

func TestCheck(t *testing.T) {
	for text, good := range map[string]bool{
		"ada@example.org":            true,
		"ada+runs@example.org":       true,
		"":                           false,
		"ada":                        false,
		"Ada <ada@example.org>":      false,
		"<ada@example.org>":          false,
		"ada@example.org,b@c.de":     false,
		" ada@example.org":           false,
		"ada@example.org\r\nBcc: x":  false,
		"\"a\r\nb\"@example.org":     false,
		"ada@example.org\x00":        false,
		"ada@example.org (a person)": false,
	} {
		if err := address.Check(text); (err == nil) != good {
			t.Errorf("%q: %v, want good = %t", text, err, good)
		}
	}
}
