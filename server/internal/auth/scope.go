package auth

import (
	"fmt"
	"strings"
)

// Scope is a set of what a caller may do at all, whosever things they are. None includes another.
type Scope uint8

// The scopes.
const (
	Read   Scope = 1 << iota // look at one's own
	Upload                   // send datasets, and delete them
	Train                    // start, stop, share and delete runs, and predict
	Admin                    // manage users and tokens
	Portal                   // stand in for people whose SSH keys it verified

	Everything = Read | Upload | Train | Admin | Portal
)

var scopeNames = []string{"read", "upload", "train", "admin", "portal"}

// ParseScopes reads names separated by commas or spaces.
func ParseScopes(text string) (Scope, error) {
	var out Scope
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		found := false
		for i, name := range scopeNames {
			if name == word {
				out |= 1 << i
				found = true
			}
		}
		if !found {
			return 0, fmt.Errorf("there is no scope %q: choose among %s", word, strings.Join(scopeNames, ", "))
		}
	}
	if out == 0 {
		return 0, fmt.Errorf("a token needs a scope: choose among %s", strings.Join(scopeNames, ", "))
	}
	return out, nil
}

// String names the scopes, separated by spaces.
func (s Scope) String() string {
	var out []string
	for i, name := range scopeNames {
		if s&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return strings.Join(out, " ")
}

// Has tells whether all of want is in s; the empty scope is in none.
func (s Scope) Has(want Scope) bool { return want != 0 && s&want == want }
