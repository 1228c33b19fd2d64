package compare_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/trainer/bench/compare"
)

var (
	leaves = compare.Set{Name: "leaves", Images: 1000, Classes: 5}
	stones = compare.Set{Name: "stones", Images: 2000, Classes: 8}
)

const here = "some-cpu-2core-8g"

func row(s compare.Set, seed int64, system compare.System, seconds, accuracy float64) compare.Row {
	return compare.Row{Machine: here, Set: s.Name, Seed: seed, System: system, Images: s.Images, Classes: s.Classes,
		Seconds: seconds, TestAccuracy: accuracy, Version: "v1", Date: "2026-01-01T00:00:00Z"}
}

func busy(r compare.Row) compare.Row {
	r.Busy = true
	return r
}

func TestCellsRoundRobin(t *testing.T) {
	cells := compare.Cells([]compare.Set{leaves, stones}, []int64{4, 7}, []compare.System{compare.Tutorial, compare.Strong, compare.Quick})
	var got []string
	for _, c := range cells {
		got = append(got, string(c.System)+" "+c.Set.Name+" "+string(rune('0'+c.Seed)))
	}
	want := []string{"quick leaves 4", "quick stones 4", "strong leaves 4", "strong stones 4", "tutorial leaves 4", "tutorial stones 4",
		"quick leaves 7", "quick stones 7", "strong leaves 7", "strong stones 7"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMissing(t *testing.T) {
	cells := compare.Cells([]compare.Set{leaves}, []int64{1, 2}, []compare.System{compare.Quick, compare.Probe})
	done := row(leaves, 1, compare.Probe, 10, 0.9)
	elsewhere := row(leaves, 1, compare.Quick, 10, 0.9)
	elsewhere.Machine = "another"
	grown := row(leaves, 2, compare.Quick, 10, 0.9)
	grown.Images++
	missing := compare.Missing(cells, here, []compare.Row{done, elsewhere, grown})
	want := []compare.Cell{{Set: leaves, Seed: 1, System: compare.Quick}, {Set: leaves, Seed: 2, System: compare.Quick}, {Set: leaves, Seed: 2, System: compare.Probe}}
	if !slices.Equal(missing, want) {
		t.Errorf("missing %v, want %v", missing, want)
	}
}

func TestExpect(t *testing.T) {
	rows := []compare.Row{row(leaves, 1, compare.Strong, 100, 0.9), row(leaves, 2, compare.Strong, 120, 0.9)}
	elsewhere := row(stones, 1, compare.Strong, 5, 0.9)
	elsewhere.Machine = "another"
	rows = append(rows, elsewhere, busy(row(leaves, 3, compare.Strong, 9999, 0.9)))
	for name, c := range map[string]struct {
		cell compare.Cell
		want time.Duration
	}{
		"other seeds":      {compare.Cell{Set: leaves, Seed: 3, System: compare.Strong}, 110 * time.Second},
		"other set":        {compare.Cell{Set: stones, Seed: 1, System: compare.Strong}, 220 * time.Second},
		"nothing is known": {compare.Cell{Set: leaves, Seed: 1, System: compare.Probe}, 35 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			if got := compare.Expect(c.cell, here, rows); got.Round(time.Millisecond) != c.want {
				t.Errorf("expects %s, want %s", got, c.want)
			}
		})
	}
}

// TestNextFits checks that a cell which would end late is not started and that a shorter one behind it is.
func TestNextFits(t *testing.T) {
	rows := []compare.Row{row(leaves, 1, compare.Strong, 100, 0.9), row(leaves, 1, compare.Quick, 10, 0.9)}
	cells := []compare.Cell{{Set: leaves, Seed: 2, System: compare.Strong}, {Set: leaves, Seed: 2, System: compare.Quick}}
	next, rest, ok := compare.Next(cells, here, rows, 100*time.Second)
	if !ok || next != cells[0] || !slices.Equal(rest, cells[1:]) {
		t.Errorf("with 100 s: %v, %v, %v", next, rest, ok)
	}
	next, rest, ok = compare.Next(cells, here, rows, 99*time.Second)
	if !ok || next != cells[1] || !slices.Equal(rest, cells[:1]) {
		t.Errorf("with 99 s: %v, %v, %v", next, rest, ok)
	}
	if next, rest, ok = compare.Next(cells, here, rows, 9*time.Second); ok || len(rest) != 2 {
		t.Errorf("with 9 s: %v, %v, %v", next, rest, ok)
	}
}

// TestTornLine checks that a row cut short by a crash counts for nothing and is gone after the next one.
func TestTornLine(t *testing.T) {
	dir := t.TempDir()
	first, second := row(leaves, 1, compare.Quick, 10, 0.9), row(leaves, 2, compare.Quick, 11, 0.8)
	if err := compare.Append(dir, first); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, here+compare.Extension)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, rest := range map[string]string{"cut": string(content[:len(content)/2]), "one byte": "{", "nothing": ""} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, append(slices.Clone(content), rest...), 0o644); err != nil {
				t.Fatal(err)
			}
			expect(t, dir, first)
			if err := compare.Append(dir, second); err != nil {
				t.Fatal(err)
			}
			expect(t, dir, first, second)
		})
	}
	t.Run("only the line's end", func(t *testing.T) {
		if err := os.WriteFile(path, content[:len(content)-1], 0o644); err != nil {
			t.Fatal(err)
		}
		if err := compare.Append(dir, second); err != nil {
			t.Fatal(err)
		}
		expect(t, dir, first, second)
	})
	t.Run("in the middle", func(t *testing.T) {
		if err := os.WriteFile(path, append([]byte("{\n"), content...), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := compare.Read(dir); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("a damaged line in the middle: %v", err)
		}
	})
}

func expect(t *testing.T, dir string, want ...compare.Row) {
	t.Helper()
	rows, err := compare.Read(dir)
	if err != nil || !slices.Equal(rows, want) {
		t.Errorf("rows %v, %v, want %v", rows, err, want)
	}
}

func TestReadWithoutFolder(t *testing.T) {
	if rows, err := compare.Read(filepath.Join(t.TempDir(), "none")); len(rows) > 0 || err != nil {
		t.Errorf("%v, %v", rows, err)
	}
}
