package journal_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/journal"
)

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.jsonl")
	j, err := journal.Open(path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for e := 1; e <= 3; e++ {
		j.Add(runspec.TypeEpoch, runspec.Epoch{Phase: "head", Epoch: e})
		j.Add(runspec.TypeProgress, runspec.Progress{Phase: "head", Done: e})
		j.Log("warning", `this is no "epoch"`)
	}
	count := func(types ...runspec.Type) (epochs, logs, all int) {
		t.Helper()
		records, err := journal.Read(path, types...)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			switch body := r.Body.(type) {
			case runspec.Epoch:
				if epochs++; body.Epoch != epochs {
					t.Errorf("epoch %d comes as number %d", body.Epoch, epochs)
				}
			case runspec.Log:
				logs++
			}
		}
		return epochs, logs, len(records)
	}
	if epochs, logs, all := count(runspec.TypeEpoch); epochs != 3 || logs != 0 || all != 3 { // while it is written
		t.Errorf("%d epochs, %d logs, %d records", epochs, logs, all)
	}
	if epochs, logs, all := count(runspec.TypeEpoch, runspec.TypeLog); epochs != 3 || logs != 3 || all != 6 {
		t.Errorf("%d epochs, %d logs, %d records", epochs, logs, all)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"seq":10,"type":"epoch","epo`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if epochs, _, _ := count(runspec.TypeEpoch); epochs != 3 {
		t.Errorf("with half a line behind them %d epochs are read", epochs)
	}
	if records, err := journal.Read(filepath.Join(t.TempDir(), "none"), runspec.TypeEpoch); err != nil || len(records) != 0 {
		t.Errorf("of no spool: %v, %v", records, err)
	}
}
