package login_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/adrg/xdg"

	"github.com/cultivar-ml/cultivar/tui/internal/login"
)

func config(t *testing.T) {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	xdg.Reload()
}

func TestServersAreKept(t *testing.T) {
	config(t)
	s, err := login.Load()
	if err != nil || len(s.Servers) != 0 || s.Current != "" {
		t.Fatalf("without a file: %+v, %v", s, err)
	}
	s.Put(login.Server{Server: "https://a", Token: "cv_1"})
	s.Put(login.Server{Server: "https://b", Token: "cv_2"})
	s.Put(login.Server{Server: "https://a", Token: "cv_3"})
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	s, err = login.Load()
	a, ok := s.Find("https://a")
	if err != nil || len(s.Servers) != 2 || s.Current != "https://a" || !ok || a.Token != "cv_3" {
		t.Errorf("kept %+v, %v", s, err)
	}
	if info, err := os.Stat(login.Path()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of tokens is %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(login.Path()), ".servers-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if !s.Drop("https://a") || s.Current != "" || s.Drop("https://a") {
		t.Errorf("after dropping: %+v", s)
	}
}

// TestWideOpenFileIsNarrowed: a file that others could read is one that they cannot after the next sign-in.
func TestWideOpenFileIsNarrowed(t *testing.T) {
	config(t)
	if err := os.MkdirAll(filepath.Dir(login.Path()), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(login.Path(), []byte(`{"servers":[]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := login.Load()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(login.Path()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestDamagedFileSaysWhatToDo(t *testing.T) {
	config(t)
	if err := os.MkdirAll(filepath.Dir(login.Path()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(login.Path(), []byte(`{"servers":[{"token":"cv_secret`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := login.Load(); err == nil || !strings.Contains(err.Error(), login.Path()) || strings.Contains(err.Error(), "cv_secret") {
		t.Errorf("it says %v", err)
	}
}

func TestAddress(t *testing.T) {
	for text, want := range map[string]string{
		"gpu.example.org": "https://gpu.example.org", "HTTPS://GPU.example.org/": "https://gpu.example.org",
		"http://127.0.0.1:8080": "http://127.0.0.1:8080", "https://h/team/Cultivar/": "https://h/team/Cultivar",
		"unix:///run/c.sock":  "unix:///run/c.sock",
		"https://me:secret@h": "", "https://h?token=1": "", "https://": "", "https://a b": "",
	} {
		got, err := login.Address(text)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q becomes %q, %v", text, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("a password is said aloud: %v", err)
		}
	}
}

func TestReadable(t *testing.T) {
	for address, want := range map[string]bool{
		"http://10.0.0.1": true, "http://gpu.example.org": true, "HTTP://h": true, "http://localhost.example.org": true, "http://127.0.0.1.example.org": true,
		"http://127.0.0.1:80": false, "http://localhost:1": false, "http://[::1]:80": false, "https://h": false, "unix:///s": false,
	} {
		if got := login.Readable(address); got != want {
			t.Errorf("%s: %t", address, got)
		}
	}
}
