package hdf_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/trainer/internal/hdf"
)

func write(t *testing.T, fn func(hdf.Group) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.h5")
	if err := hdf.Create(path, fn); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestText(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "short": "a", "unicode": "Grüße 🌷", "over 64 KiB": strings.Repeat("0123456789", 30_000),
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, func(g hdf.Group) error { return g.SetText("config", text) })
			err := hdf.Open(path, func(g hdf.Group) error {
				got, err := g.Text("config")
				if err == nil && got != text {
					t.Errorf("got %d bytes, want %d", len(got), len(text))
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestStrings(t *testing.T) {
	long := make([]string, 4000)
	for i := range long {
		long[i] = "a_rather_long_layer_name_" + strconv.Itoa(i)
	}
	for name, list := range map[string][]string{"none": nil, "one": {"x"}, "some": {"a", "", "grün"}, "split": long} {
		t.Run(name, func(t *testing.T) {
			path := write(t, func(g hdf.Group) error { return g.SetStrings("names", list) })
			err := hdf.Open(path, func(g hdf.Group) error {
				got, err := g.Strings("names")
				if err == nil && !slices.Equal(got, list) {
					t.Errorf("got %d strings, want %d", len(got), len(list))
				}
				if _, missing := g.Strings("names1"); (name == "split") != (missing == nil) {
					t.Errorf("second part: %v", missing)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestFloats(t *testing.T) {
	data := []float32{1, 2, 3, 4, 5, -6.5}
	path := write(t, func(g hdf.Group) error {
		c, err := g.CreateGroup("layer")
		if err != nil {
			return err
		}
		if err := c.SetFloats("bad", []int{7}, data); err == nil {
			t.Error("a wrong shape was written")
		}
		return c.SetFloats("kernel:0", []int{2, 3}, data)
	})
	err := hdf.Open(path, func(g hdf.Group) error {
		shape, got, err := g.Floats("layer/kernel:0")
		if err != nil {
			return err
		}
		if !slices.Equal(shape, []int{2, 3}) || !slices.Equal(got, data) {
			t.Errorf("got %v %v", shape, got)
		}
		if _, _, err := g.Floats("layer"); err == nil {
			t.Error("a group was read as a dataset")
		}
		names, err := g.Names()
		if !slices.Equal(names, []string{"layer"}) {
			t.Errorf("names %v", names)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWrongUse(t *testing.T) {
	path := write(t, func(g hdf.Group) error {
		if err := g.SetText("nul", "a\x00b"); err == nil {
			t.Error("a NUL was accepted")
		}
		return errors.Join(g.SetText("text", "x"), g.SetStrings("list", []string{"a", "b"}))
	})
	err := hdf.Open(path, func(g hdf.Group) error {
		if _, err := g.Text("list"); err == nil {
			t.Error("a list was read as text")
		}
		if list, err := g.Strings("text"); err != nil || !slices.Equal(list, []string{"x"}) {
			t.Errorf("a single text as a list: %q, %v", list, err)
		}
		if _, err := g.Text("absent"); err == nil {
			t.Error("an absent attribute was read")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenSaysWhy(t *testing.T) {
	dir := t.TempDir()
	none := func(hdf.Group) error { return nil }
	if err := hdf.Open(filepath.Join(dir, "absent"), none); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := hdf.Open(text, none); err == nil || !strings.Contains(err.Error(), "not an HDF5 file") {
		t.Errorf("text: %v", err)
	}
	whole := write(t, func(g hdf.Group) error { return g.SetFloats("x", []int{10_000}, make([]float32, 10_000)) })
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(whole, data[:len(data)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := hdf.Open(whole, none); err == nil {
		t.Error("half a file was opened")
	}
}

// Many goroutines at once: without the lock this crashes inside the C library.
func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	var wait sync.WaitGroup
	for i := range 16 {
		wait.Go(func() {
			path := filepath.Join(dir, strconv.Itoa(i))
			want := strings.Repeat(strconv.Itoa(i), 1000)
			err := hdf.Create(path, func(g hdf.Group) error { return g.SetText("text", want) })
			if err == nil {
				err = hdf.Open(path, func(g hdf.Group) error {
					got, err := g.Text("text")
					if got != want {
						t.Errorf("file %d holds another's text", i)
					}
					return err
				})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

// Equal content makes equal files, also in another second: a time is stored as four bytes, and none of now is in the file.
func TestKeepsNoTimes(t *testing.T) {
	from := time.Now().Unix()
	path := write(t, func(g hdf.Group) error {
		c, err := g.CreateGroup("layer")
		if err != nil {
			return err
		}
		if err := c.SetText("name", "text"); err != nil {
			return err
		}
		return c.SetFloats("kernel:0", []int{2}, []float32{1, 2})
	})
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for second := from; second <= time.Now().Unix(); second++ {
		if at := bytes.Index(content, binary.LittleEndian.AppendUint32(nil, uint32(second))); at >= 0 {
			t.Errorf("the time lies at byte %d", at)
		}
	}
}
