package files_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cultivar-ml/cultivar/server/internal/files"
)

func volume(t *testing.T) (*files.Volume, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a", "b")
	v, err := files.OpenVolume(dir)
	if err != nil {
		t.Fatal(err)
	}
	return v, dir
}

func TestNamesStayInside(t *testing.T) {
	v, _ := volume(t)
	for _, name := range []string{"../x", "/etc/passwd", "a/../../x", "", "users/../../x"} {
		if p, err := v.Path(name); !errors.Is(err, files.ErrName) {
			t.Errorf("%q became %q (%v)", name, p, err)
		}
	}
	for _, name := range []string{"users", ".", "a/.."} {
		if err := v.Remove(name); err == nil {
			t.Errorf("%q was removed", name)
		}
	}
}

func TestAFailedWriteLeavesTheOldFileAndNoOther(t *testing.T) {
	v, dir := volume(t)
	if err := v.WriteBytes("x/y", files.FileMode, []byte("old")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := v.Write("x/y", files.FileMode, func(w io.Writer) error {
		_, _ = w.Write([]byte("ne"))
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("error: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "x", "y")); err != nil || string(b) != "old" {
		t.Errorf("content %q, %v", b, err)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "x")); err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestAdoptAgain(t *testing.T) {
	v, dir := volume(t)
	part := filepath.Join(dir, "part")
	if err := os.WriteFile(part, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // as after a crash between adopting and whatever follows
		if err := v.Adopt(part, "packs/aa/x.pack"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(part); err != nil {
		t.Fatal(err)
	}
	dest := filepath.Join(dir, "packs", "aa", "x.pack")
	b, err := os.ReadFile(dest)
	info, statErr := os.Stat(dest)
	if err != nil || statErr != nil || string(b) != "content" || info.Mode().Perm() != files.ReadOnlyMode {
		t.Errorf("%q %v %v %v", b, err, info.Mode(), statErr)
	}
}
