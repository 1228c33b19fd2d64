package tasks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/server/internal/store"
)

// TestEveryPrefixOfASpool: a reader that sees a spool at any moment of its being written delivers the whole lines in it,
// and going on from there later delivers each of the rest once.
func TestEveryPrefixOfASpool(t *testing.T) {
	var whole strings.Builder
	for seq := 1; seq <= 5; seq++ {
		fmt.Fprintf(&whole, `{"seq":%d,"time":"2026-01-01T00:00:00Z","type":"log","level":"info","text":"é%d"}`+"\n", seq, seq)
	}
	content := whole.String()
	name := filepath.Join(t.TempDir(), "records.jsonl")
	for cut := range len(content) + 1 {
		var got []int64
		deliver := func(lines []store.Line) error {
			for _, l := range lines {
				got = append(got, l.Record.Seq)
			}
			return nil
		}
		offset := int64(0)
		for _, part := range []string{content[:cut], content} {
			if err := os.WriteFile(name, []byte(part), 0o600); err != nil {
				t.Fatal(err)
			}
			var err error
			if offset, err = readSpool(name, offset, deliver); err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			if want := strings.Count(part, "\n"); len(got) != want {
				t.Fatalf("cut at %d: %d records delivered, want %d", cut, len(got), want)
			}
		}
		for i, seq := range got {
			if seq != int64(i+1) {
				t.Fatalf("cut at %d: %v", cut, got)
			}
		}
	}
}

func TestDamagedSpoolDeliversWhatComesBefore(t *testing.T) {
	for name, bad := range map[string]string{
		"not JSON":           "{broken\n",
		"a state":            `{"seq":2,"time":"2026-01-01T00:00:00Z","type":"state","state":"succeeded"}` + "\n",
		"no sequence number": `{"time":"2026-01-01T00:00:00Z","type":"log"}` + "\n",
		"a line too long":    `{"seq":2,"time":"2026-01-01T00:00:00Z","type":"log","text":"` + strings.Repeat("x", 200_000) + "\"}\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "records.jsonl")
			first := `{"seq":1,"time":"2026-01-01T00:00:00Z","type":"log","text":"fine"}` + "\n"
			if err := os.WriteFile(file, []byte(first+bad), 0o600); err != nil {
				t.Fatal(err)
			}
			n := 0
			offset, err := readSpool(file, 0, func(lines []store.Line) error { n += len(lines); return nil })
			if n != 1 || offset != int64(len(first)) || !errors.Is(err, errDamaged) {
				t.Errorf("%d records, offset %d, error %v", n, offset, err)
			}
		})
	}
}
