package tasks

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"

	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// spoolBatch is how many records of a spool are stored in one transaction.
const spoolBatch = 500

// errDamaged: the spool holds something that is no record of the sequence. What comes before it has been stored.
var errDamaged = errors.New("the spool is damaged")

var executorForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// drain stores what an attempt's spool holds beyond what is stored, and returns the attempt as it is then. An attempt
// that nobody registered for is given to the executor whose folder is there, for it may never have reached the callback.
func (s *Service) drain(ctx context.Context, t store.Task, a store.Attempt) (store.Attempt, error) {
	dir, err := s.volume.Path(attemptDir(t, a.Attempt))
	if err != nil {
		return a, err
	}
	if a.Executor == "" {
		if a.Executor, err = soleExecutor(dir); err != nil || a.Executor == "" {
			return a, err
		}
		if err := s.store.Register(ctx, t.ID, a.Attempt, a.Executor); err != nil {
			return a, err
		}
	}
	name := filepath.Join(dir, a.Executor, runspec.RecordsFile)
	s.mu.Lock()
	offset := s.spools[name]
	s.mu.Unlock()
	acked := a.Acked
	offset, err = readSpool(name, offset, func(lines []store.Line) error {
		var added int
		acked, added, err = s.store.AddRecords(ctx, t.ID, a.Attempt, a.Executor, lines)
		if added > 0 {
			s.broker.wake(t.ID)
		}
		return err
	})
	s.mu.Lock()
	s.spools[name] = offset
	s.mu.Unlock()
	a.Acked = acked
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return a, fmt.Errorf("read the spool of attempt %d: %w", a.Attempt, err)
	}
	return a, nil
}

func (s *Service) forget(t store.Task, a store.Attempt) {
	dir, err := s.volume.Path(attemptDir(t, a.Attempt))
	if err != nil {
		return
	}
	s.mu.Lock()
	delete(s.heard, t.ID)
	delete(s.spools, filepath.Join(dir, a.Executor, runspec.RecordsFile))
	s.mu.Unlock()
}

// soleExecutor is the name of the one folder in dir that has a spool; empty when there is none.
func soleExecutor(dir string) (string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "*", runspec.RecordsFile))
	if err != nil || len(found) == 0 {
		return "", err
	}
	name := path.Base(filepath.ToSlash(filepath.Dir(found[0])))
	if len(found) > 1 || !executorForm.MatchString(name) {
		return "", fmt.Errorf("%d executors wrote for one attempt, or one with an unusable name: %q", len(found), name)
	}
	return name, nil
}

// readSpool reads the whole lines of a spool from offset on, and returns where the first line that it did not deliver
// begins. A last line without its newline is being written, or was cut by a crash, and is left alone. A line that is no
// record is an end too: nothing behind it can be in sequence.
func readSpool(name string, offset int64, deliver func([]store.Line) error) (int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return offset, err
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return offset, err
	}
	r := bufio.NewReaderSize(f, 2*runspec.MaxRecordBytes)
	var batch []store.Line
	at := offset
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if err := deliver(batch); err != nil {
			return err
		}
		batch, offset = nil, at
		return nil
	}
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			err := flush()
			return offset, err
		}
		if err != nil {
			flushErr := flush()
			return offset, errors.Join(flushErr, fmt.Errorf("%w: %w", errDamaged, err))
		}
		l, err := parseLine(line)
		if err != nil {
			flushErr := flush()
			return offset, errors.Join(flushErr, fmt.Errorf("%w at byte %d: %w", errDamaged, at, err))
		}
		at += int64(len(line))
		batch = append(batch, l)
		if len(batch) >= spoolBatch {
			if err := flush(); err != nil {
				return offset, err
			}
		}
	}
}

// parseLine decodes one record and keeps its text. State changes are the server's to tell.
func parseLine(line []byte) (store.Line, error) {
	line = bytes.TrimSpace(line)
	if len(line) > runspec.MaxRecordBytes {
		return store.Line{}, fmt.Errorf("a record has %d bytes, more than %d", len(line), runspec.MaxRecordBytes)
	}
	var rec runspec.Record
	if err := json.Unmarshal(line, &rec); err != nil {
		return store.Line{}, fmt.Errorf("not a record: %w", err)
	}
	if rec.Seq < 1 || rec.Type == "" || rec.Type == runspec.TypeState {
		return store.Line{}, fmt.Errorf("a record has seq %d and type %q", rec.Seq, rec.Type)
	}
	return store.Line{Record: rec, JSON: bytes.Clone(line)}, nil
}
