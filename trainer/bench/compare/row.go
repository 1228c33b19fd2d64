// Package compare knows what has been measured of the trainer and of its peers, which cells are missing, which of them fit
// into the time allowed, and what the table says. It runs nothing.
package compare

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Extension ends the names of the files of rows.
const Extension = ".jsonl"

// Row is one measured cell. Rows of different machines are never compared.
type Row struct {
	Machine      string  `json:"machine"` // see Machine
	Set          string  `json:"set"`
	Seed         int64   `json:"seed"` // of the split and of every random choice
	System       System  `json:"system"`
	Images       int     `json:"images"` // usable ones of the set, all sides
	Classes      int     `json:"classes"`
	Seconds      float64 `json:"seconds"`        // wall time of the whole process
	Busy         bool    `json:"busy,omitempty"` // the machine did other work: the accuracy counts, the seconds do not
	TestAccuracy float64 `json:"test_accuracy"`
	Version      string  `json:"version"` // of this project
	Date         string  `json:"date"`    // UTC, RFC 3339
}

func (r Row) check() error {
	switch {
	case r.Machine == "" || r.Set == "":
		return errors.New("it names no machine or no set")
	case !slices.Contains(Systems(), r.System):
		return fmt.Errorf("it is of %q, which is none of the systems", r.System)
	case r.Images < 1 || r.Classes < 1 || r.Seconds <= 0 || r.TestAccuracy < 0 || r.TestAccuracy > 1:
		return errors.New("a number of it is impossible")
	}
	return nil
}

// Read returns the rows of all files in dir, oldest first within each file. A folder that is not there has none.
func Read(dir string) ([]Row, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the rows: %w", err)
	}
	var rows []Row
	for _, e := range entries {
		if e.IsDir() || filepath.Ext(e.Name()) != Extension {
			continue
		}
		path := filepath.Join(dir, e.Name())
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the rows: %w", err)
		}
		some, _, err := Parse(content)
		if err != nil {
			return nil, fmt.Errorf("read the rows of %s: %w", path, err)
		}
		rows = append(rows, some...)
	}
	return rows, nil
}

// Parse returns the rows of a file and how many of its bytes they take. A last line that a crash cut short is left out of
// both; any other line that is no row is an error.
func Parse(content []byte) (rows []Row, whole int, err error) {
	for n := 1; whole < len(content); n++ {
		line, _, ended := bytes.Cut(content[whole:], []byte("\n"))
		var r Row
		err := json.Unmarshal(line, &r)
		if err == nil {
			err = r.check()
		}
		if err != nil && !ended {
			return rows, whole, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("line %d is no row: %w", n, err)
		}
		rows = append(rows, r)
		whole = min(whole+len(line)+1, len(content))
	}
	return rows, whole, nil
}

// Append adds a row to the file of its machine in dir and returns once it is on disk. What a crash left of a last line
// is taken away first.
func Append(dir string, r Row) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("add a row: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("add a row: %w", err)
	}
	path := filepath.Join(dir, r.Machine+Extension)
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("add a row: %w", err)
	}
	_, whole, err := Parse(content)
	if err != nil {
		return fmt.Errorf("add a row to %s: %w", path, err)
	}
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("add a row: %w", err)
	}
	line = append(line, '\n')
	if whole > 0 && content[whole-1] != '\n' {
		line = append([]byte("\n"), line...)
	}
	if err := write(path, int64(whole), line); err != nil {
		return fmt.Errorf("add a row: %w", err)
	}
	return nil
}

func write(path string, at int64, line []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	err = f.Truncate(at)
	if err == nil {
		_, err = f.WriteAt(line, at)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
