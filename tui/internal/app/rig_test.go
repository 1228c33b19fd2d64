package app

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/adrg/xdg"
	"github.com/charmbracelet/x/vt"

	"github.com/cultivar-ml/cultivar/shared/client"
)

// updating tells whether golden screens are to be written anew; teatest defines the flag.
func updating() bool { return flag.Lookup("update").Value.String() == "true" }

func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

// rig runs the root as a program would, but step by step: commands run in the background and their messages are taken
// only while the test waits for something to show.
type rig struct {
	t    *testing.T
	m    *Model
	msgs chan tea.Msg
	over chan struct{}
}

type rigOptions struct {
	server string // empty: connecting never ends; "down": it fails
	folder string
	w, h   int
	ascii  bool
}

func newRig(t *testing.T, o rigOptions) *rig {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m, err := New(ctx, Options{Folder: o.folder, NoColor: true, ASCII: o.ascii, Version: "test", Connect: func(ctx context.Context) (*client.Client, error) {
		switch o.server {
		case "":
			<-ctx.Done()
			return nil, ctx.Err()
		case "down":
			return nil, errors.New("The server at https://gpu.example does not answer. Check that it runs, then try again.")
		}
		return client.New(client.Options{Server: o.server})
	}})
	if err != nil {
		t.Fatal(err)
	}
	m.env.Now = func() time.Time { return noon.Add(12 * time.Second) }
	r := &rig{t: t, m: m, msgs: make(chan tea.Msg), over: make(chan struct{})}
	t.Cleanup(func() { close(r.over); cancel() })
	r.run(m.Init())
	r.send(tea.WindowSizeMsg{Width: o.w, Height: o.h})
	return r
}

func (r *rig) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	go func() {
		msg := cmd()
		select {
		case r.msgs <- msg:
		case <-r.over:
		}
	}()
}

func (r *rig) send(msg tea.Msg) {
	if batch, ok := msg.(tea.BatchMsg); ok {
		for _, cmd := range batch {
			r.run(cmd)
		}
		return
	}
	if msg == nil {
		return
	}
	_, cmd := r.m.Update(msg)
	r.run(cmd)
}

// keys presses keys: names such as "tab", or letters.
func (r *rig) keys(names ...string) {
	codes := map[string]rune{"tab": tea.KeyTab, "enter": tea.KeyEnter, "esc": tea.KeyEscape, "up": tea.KeyUp, "down": tea.KeyDown, "right": tea.KeyRight, "left": tea.KeyLeft}
	for _, name := range names {
		if code, ok := codes[name]; ok {
			r.send(tea.KeyPressMsg{Code: code})
			continue
		}
		c := []rune(name)[0]
		r.send(tea.KeyPressMsg{Code: c, Text: name})
	}
}

// until takes messages until the screen shows the words.
func (r *rig) until(words ...string) {
	r.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		screen := r.screen()
		missing := ""
		for _, w := range words {
			if !strings.Contains(screen, w) {
				missing = w
			}
		}
		if missing == "" {
			return
		}
		select {
		case msg := <-r.msgs:
			r.send(msg)
		case <-deadline:
			r.t.Fatalf("%q never showed:\n%s", missing, screen)
		}
	}
}

// screen is what a terminal of this size shows.
func (r *rig) screen() string { return shown(r.m.View().Content, r.m.width, r.m.height) }

func shown(content string, w, h int) string {
	e := vt.NewEmulator(w, h)
	defer e.Close()
	_, _ = e.WriteString(strings.ReplaceAll(content, "\n", "\r\n"))
	var out []string
	for _, line := range strings.Split(e.String(), "\n") {
		out = append(out, strings.TrimRight(line, " \r"))
	}
	return strings.Join(out, "\n") + "\n"
}

// golden compares the screen with testdata/<name>.golden.
func (r *rig) golden(name string) {
	r.t.Helper()
	r.m.toast = ""
	got := r.screen()
	path := filepath.Join(source, "testdata", name+".golden")
	if updating() {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			r.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatalf("%v; go test -update writes it", err)
	}
	if !bytes.Equal(want, []byte(got)) {
		r.t.Errorf("screen %s differs (go test -update accepts it). Got:\n%s\nWant:\n%s", name, got, want)
	}
}

// source is this package's folder: tests change the working directory.
var source = func() string { dir, _ := os.Getwd(); return dir }()

// garden makes a home folder with a dataset that has what datasets have: three classes, a damaged file, a wrong ending,
// a hidden file. It becomes HOME and the current folder.
func garden(t *testing.T) string {
	t.Helper()
	home := leftHome(t)
	t.Setenv("HOME", home)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(home, ".cache"))
	t.Setenv("XDG_STATE_HOME", filepath.Join(home, ".state"))
	xdg.Reload()
	t.Chdir(home)
	root := filepath.Join(home, "flowers")
	for c, class := range []string{"daisy", "rose", "tulip"} {
		for i := range 6 + 2*c {
			write(t, filepath.Join(root, class, class+string(rune('a'+i))+".png"), picture(c, i))
		}
	}
	write(t, filepath.Join(root, "daisy", ".DS_Store"), []byte("x"))
	write(t, filepath.Join(root, "rose", "cut.png"), picture(1, 30)[:60])
	write(t, filepath.Join(root, "rose", "cut2.png"), picture(1, 31)[:60])
	write(t, filepath.Join(root, "tulip", "really.jpg"), picture(2, 40))
	write(t, filepath.Join(root, "tulip", "really2.jpg"), picture(2, 41))
	write(t, filepath.Join(home, "music", "song.txt"), []byte("la"))
	return root
}

// leftHome is a home folder that is removed after the test. A scan that the test did not wait for may still be writing its
// cache at that moment, as it may when a person quits: the removal is tried until nothing comes in between.
func leftHome(t *testing.T) string {
	t.Helper()
	home, err := os.MkdirTemp("", "home")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		deadline := time.Now().Add(10 * time.Second)
		for err := os.RemoveAll(home); err != nil; err = os.RemoveAll(home) {
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	})
	return home
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// picture draws 64 × 48 pixels that differ enough not to be near-duplicates.
func picture(class, n int) []byte {
	im := image.NewRGBA(image.Rect(0, 0, 64, 48))
	seed := uint32(class*1000+n+1) * 2654435761
	for y := range 48 {
		for x := range 64 {
			v := seed * uint32(1+(x/8)*7+(y/6)*13)
			im.SetRGBA(x, y, color.RGBA{byte(v >> 8), byte(v >> 16), byte(v >> 24), 255})
		}
	}
	var b bytes.Buffer
	_ = png.Encode(&b, im)
	return b.Bytes()
}
