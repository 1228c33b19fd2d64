package train

import (
	"slices"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// extra is a row below the recipe: something that the server can do besides training.
type extra int

const (
	noExtra extra = iota
	profileRow
	emailRow
	shareRow
)

// title and help explain a row as the recipe's table does its fields.
func (e extra) title() string {
	return map[extra]string{profileRow: "Machine size", emailRow: "Mail the result to", shareRow: "Share link"}[e]
}

func (e extra) help() string {
	return map[extra]string{
		profileRow: "Which of the server's machines to train on.",
		emailRow:   "A mail goes to this address when the training has ended, well or not. Empty: none.",
		shareRow:   "When the training has ended, put the model behind a link: whoever has it can download the model.",
	}[e]
}

// wish is what the rows below the recipe are set to.
type wish struct {
	profile string // empty: the server's first
	email   string
	share   bool
}

// extras are the rows that this server has.
func (m *Model) extras() []extra {
	a := m.env.Abilities
	if a == nil {
		return nil
	}
	var out []extra
	if len(a.Profiles) > 1 {
		out = append(out, profileRow)
	}
	if a.Mail {
		out = append(out, emailRow)
	}
	if a.Share {
		out = append(out, shareRow)
	}
	return out
}

// extra is the row under the cursor; noExtra on a base model or a field.
func (m *Model) extra() extra {
	i := m.cursor - len(m.bases) - len(m.fields())
	if all := m.extras(); i >= 0 && i < len(all) {
		return all[i]
	}
	return noExtra
}

// able drops what this server cannot do.
func (m *Model) able() {
	has := m.extras()
	if !slices.Contains(has, profileRow) || m.profileAt() < 0 {
		m.wish.profile = ""
	}
	if !slices.Contains(has, emailRow) {
		m.wish.email = ""
	}
	m.wish.share = m.wish.share && slices.Contains(has, shareRow)
	m.cursor = min(m.cursor, max(0, m.rows()-1))
}

// profileAt is the position of the chosen profile, the first when none is; -1: it is not there.
func (m *Model) profileAt() int {
	if m.wish.profile == "" {
		return 0
	}
	return slices.IndexFunc(m.env.Abilities.Profiles, func(p api.Profile) bool { return p.Name == m.wish.profile })
}

// stepExtra goes through a row's values.
func (m *Model) stepExtra(by int) {
	switch m.extra() {
	case profileRow:
		all := m.env.Abilities.Profiles
		at := (max(0, m.profileAt()) + by + len(all)) % len(all)
		if m.wish.profile = all[at].Name; at == 0 {
			m.wish.profile = "" // as without a choice
		}
	case shareRow:
		m.wish.share = !m.wish.share
	case emailRow, noExtra:
	}
}

// wished tells whether the row under the cursor differs from what it is at first; unwish makes it so again.
func (m *Model) wished() bool {
	switch m.extra() {
	case profileRow:
		return m.wish.profile != ""
	case emailRow:
		return m.wish.email != ""
	case shareRow:
		return m.wish.share
	case noExtra:
	}
	return false
}

func (m *Model) unwish() {
	switch m.extra() {
	case profileRow:
		m.wish.profile = ""
	case emailRow:
		m.wish.email = ""
	case shareRow:
		m.wish.share = false
	case noExtra:
	}
}

// editEmail opens the address for typing; the one used last stands there.
func (m *Model) editEmail() tea.Cmd {
	m.editing, m.invalid = true, ""
	value := m.wish.email
	if value == "" {
		value = m.env.Mail
	}
	m.input.SetValue(value)
	m.input.CursorEnd()
	return m.input.Focus()
}

// checkEmail says what is wrong with the address being typed; an empty one means no mail.
func (m *Model) checkEmail() {
	m.invalid = ""
	if v := m.input.Value(); v != "" {
		if err := client.CheckAddress(v); err != nil {
			m.invalid = err.Error()
		}
	}
}

// takeEmail keeps the typed address.
func (m *Model) takeEmail() tea.Cmd {
	m.wish.email = m.input.Value()
	if m.wish.email == "" {
		return nil
	}
	return screen.Send(screen.Mailed{Address: m.wish.email})
}

// order writes the rows into a run to be made.
func (w wish) order(r *api.RunCreate) {
	if w.profile != "" {
		r.Profile = &w.profile
	}
	if w.email != "" || w.share {
		r.Notify = &api.Notify{}
	}
	if w.email != "" {
		r.Notify.Email = &w.email
	}
	if w.share {
		r.Notify.Share = &w.share
	}
}

// extraRow draws a row.
func (m *Model) extraRow(i int, e extra, w int) string {
	t := m.env.Theme
	name := text.Fit(e.title(), min(22, w/2-3), t.Glyphs.Ellipsis)
	value, changed := "", false
	switch e {
	case profileRow:
		value, changed = text.Safe(m.env.Abilities.Profiles[max(0, m.profileAt())].Name), m.wish.profile != ""
	case emailRow:
		if value, changed = text.Safe(m.wish.email), m.wish.email != ""; !changed {
			value = "nobody"
		}
	case shareRow:
		if value, changed = "no", m.wish.share; changed {
			value = "yes"
		}
	case noExtra:
	}
	if i == m.cursor {
		name = t.Selected.Render(name)
		if m.editing {
			m.input.SetWidth(max(4, w-30))
			return m.mark(i) + "  " + name + "  " + m.input.View()
		}
	}
	if changed {
		value = t.Warn.Render(value + " *")
	}
	return m.mark(i) + "  " + name + "  " + value
}

// extraHelp explains a row.
func (m *Model) extraHelp(e extra, w int) []string {
	t := m.env.Theme
	out := []string{" " + t.Title.Render(e.title())}
	add := func(s string) {
		for _, l := range text.Wrap(s, w-2) {
			out = append(out, " "+l)
		}
	}
	add(e.help())
	if e == profileRow {
		for i, p := range m.env.Abilities.Profiles {
			out = append(out, "")
			mark := t.Glyphs.Wait
			if i == m.profileAt() {
				mark = t.Accent.Render(t.Glyphs.Active)
			}
			add(mark + " " + text.Safe(p.Name) + ": " + text.Safe(p.Description))
		}
	}
	if m.invalid != "" {
		out = append(append(out, ""), m.bad(m.invalid, w)...)
	}
	return out
}
