package app

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
)

// own are the only sequences the program itself writes: styles and links to files it saved.
var own = regexp.MustCompile("\x1b\\[[0-9;:]*m|\x1b\\]8;[^\x07\x1b]*;(file|https?)://[^\x07\x1b]*(\x07|\x1b\\\\)|\x1b\\]8;;(\x07|\x1b\\\\)")

// clean checks that a screen has its exact size and no sequence that is not our own.
func clean(m *Model) error {
	lines := strings.Split(m.View().Content, "\n")
	if len(lines) != m.height {
		return fmt.Errorf("%d lines instead of %d", len(lines), m.height)
	}
	for i, l := range lines {
		if w := ansi.StringWidth(l); w > m.width {
			return fmt.Errorf("line %d is %d cells wide instead of %d: %q", i, w, m.width, l)
		}
		for _, r := range own.ReplaceAllString(l, "") {
			if r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				return fmt.Errorf("line %d lets %U through: %q", i, r, l)
			}
		}
	}
	title := m.View().WindowTitle
	if strings.ContainsFunc(title, func(r rune) bool { return r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 }) {
		return fmt.Errorf("the window title lets a control character through: %q", title)
	}
	return nil
}

// FuzzNames shows hostile names of classes, files, runs and errors on every screen at every size.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"daisy", "\x1b[2J\x1b[31mred", "\x1b]0;title\x07", "a\x00b\x7f\r\n\tc", "\u202eevil", "👩‍👩‍👧‍👦👩‍👩‍👧‍👦", "日本語のとても長い名前のクラス名前名前名前", "e\u0301\u0301\u0301\u0301", "\x9b31m", "\xff\xfe", strings.Repeat("x", 400), "\x1b]8;;http://evil\x1b\\x"} {
		f.Add(s, uint8(80), uint8(24))
	}
	f.Fuzz(func(t *testing.T, name string, w, h uint8) {
		m, err := New(context.Background(), Options{Connect: func(context.Context) (*client.Client, error) { return nil, nil }})
		if err != nil {
			t.Fatal(err)
		}
		m.Update(tea.WindowSizeMsg{Width: 60 + int(w)%141, Height: 18 + int(h)%43})
		run := api.Run{Id: "r1", Name: name, DatasetName: name, Number: 1, State: api.StateFailed, Reason: &name}
		run.Recipe.Base = name
		for _, msg := range []tea.Msg{
			screen.OpenTrain{Dataset: screen.Dataset{Root: name, Manifest: &manifest.Manifest{Name: name, Classes: []string{name}, Images: []manifest.Image{{Class: name, Path: name}}}}},
			screen.OpenRun{Run: run}, screen.OpenResults{Run: run},
			screen.Toast{Text: name},
			screen.Ask{Title: name, Text: name, Verb: "Do it"},
			connectedMsg{err: fmt.Errorf("no server: %s", name)},
		} {
			m.Update(msg)
			for s := range m.screens {
				m.active = s
				if err := clean(m); err != nil {
					t.Fatalf("screen %d after %T: %v", s, msg, err)
				}
			}
		}
	})
}

// TestHostileDeliveries: what a server says of deliveries and machines cannot write to the terminal by itself.
func TestHostileDeliveries(t *testing.T) {
	bad := "\x1b]0;owned\a\x1b[2J\u202e" + strings.Repeat("x", 200)
	for _, address := range []string{bad, "https://h/\x1b]8;;\a", "javascript:alert(1)", "https://h/\u202e" + strings.Repeat("y", 300), "https://\u202eh/"} {
		d := &double{report: reportJSON, runs: []api.Run{done()}, abilities: able}
		d.abilities.Profiles = []api.Profile{{Name: bad, Description: bad}, {Name: "b" + bad, Description: bad}}
		one := link()
		one.Url, one.Target, one.Reason, one.State = &address, &bad, &bad, api.DeliveryDelivered
		two := postponed()
		two.Target, two.Reason = &bad, &bad
		d.delivers(two, one)
		r := newRig(t, rigOptions{server: d.start(t), folder: garden(t), w: 80, h: 24})
		r.until("Next: choose", "ready")
		r.keys("n")
		r.until("EfficientNet-Lite0", "Share link")
		r.keys("G", "up", "up")
		openResults()(r)
		r.until("s share", "delivered")
		for s := range r.m.screens {
			r.m.active = s
			if err := clean(r.m); err != nil {
				t.Errorf("screen %d, %q: %v", s, address, err)
			}
		}
		if strings.Contains(r.m.View().Content, ";javascript:") {
			t.Error("a link that is no web address can be clicked")
		}
		r.m.active = screen.Results
		r.keys("s")
		r.until("Mail it to")
		if err := clean(r.m); err != nil {
			t.Errorf("dialog: %v", err)
		}
	}
}

// TestSizes draws every screen at every size from the smallest to the largest that people use.
func TestSizes(t *testing.T) {
	d := &double{report: reportJSON, runs: []api.Run{done()}, abilities: able}
	d.delivers(under(link(), api.DeliveryFailed), postponed(), link(), under(letter(), api.DeliveryFailed))
	d.learning(7)
	r := newRig(t, rigOptions{server: d.start(t), folder: garden(t), w: 80, h: 24})
	r.until("Next: choose", "ready")
	r.send(screen.OpenRun{Run: done()})
	r.until("epoch 7")
	r.send(screen.OpenResults{Run: done()})
	r.until("36 of 40")
	for w := 20; w <= 200; w += 7 {
		for h := 8; h <= 60; h += 5 {
			r.m.Update(tea.WindowSizeMsg{Width: w, Height: h})
			for s := range r.m.screens {
				r.m.active = s
				if err := clean(r.m); err != nil {
					t.Fatalf("screen %d at %d×%d: %v", s, w, h, err)
				}
			}
		}
	}
}

// TestASCII holds the program to its word: with --ascii it draws no other character of its own.
func TestASCII(t *testing.T) {
	d := &double{report: reportJSON, runs: []api.Run{done()}}
	d.learning(7)
	r := newRig(t, rigOptions{server: d.start(t), folder: garden(t), w: 100, h: 30, ascii: true})
	r.until("Next: choose", "ready")
	r.send(screen.OpenRun{Run: done()})
	r.until("epoch 7")
	r.send(screen.OpenResults{Run: done()})
	r.until("36 of 40")
	for s := range r.m.screens {
		r.m.active = s
		for _, line := range strings.Split(r.screen(), "\n") {
			if i := strings.IndexFunc(line, func(c rune) bool { return c > 0x7e }); i >= 0 {
				t.Errorf("screen %d: %q", s, line)
			}
		}
	}
	r.m.active = screen.Run
	r.golden("run-ascii-100x30")
}
