// Package keys is the one table behind a screen's key presses, its footer and the searchable list of actions, so that
// the three cannot drift apart.
package keys

import (
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// Binding is one action of a screen of type T.
type Binding[T any] struct {
	Keys  []string        // as tea.KeyPressMsg.String gives them; the first is shown
	Show  string          // how the footer writes the keys; empty: the first key
	Short string          // two words for the footer; empty: not in the footer
	Help  string          // a sentence for the list of actions; empty: not in the list
	When  func(T) bool    // nil: always
	Do    func(T) tea.Cmd // may change T; it runs inside Update
}

// Action is a binding that can be run now.
type Action struct {
	Show, Short, Help string
	Run               func() tea.Cmd
}

// Dispatch runs the first binding that has the key and may run; ok tells whether there was one.
func Dispatch[T any](table []Binding[T], m T, key string) (cmd tea.Cmd, ok bool) {
	for _, b := range table {
		if slices.Contains(b.Keys, key) && (b.When == nil || b.When(m)) {
			return b.Do(m), true
		}
	}
	return nil, false
}

// Actions lists what can be run now, in the table's order.
func Actions[T any](table []Binding[T], m T) []Action {
	var out []Action
	for _, b := range table {
		if b.When != nil && !b.When(m) {
			continue
		}
		show := b.Show
		if show == "" {
			show = b.Keys[0]
		}
		out = append(out, Action{Show: show, Short: b.Short, Help: b.Help, Run: func() tea.Cmd { return b.Do(m) }})
	}
	return out
}

// Filter keeps the actions whose words contain every word of the query, in their order.
func Filter(all []Action, query string) []Action {
	var out []Action
	words := strings.Fields(strings.ToLower(query))
	for _, a := range all {
		if a.Help == "" {
			continue
		}
		hay := strings.ToLower(a.Show + " " + a.Short + " " + a.Help)
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(hay, w) }) {
			out = append(out, a)
		}
	}
	return out
}
