// Package journal tells the story of an attempt: each record goes to a spool file first and from there to the server's
// callback. Writing never waits for the network, and what the server missed it can read from the spool.
package journal

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Journal is an attempt's records. Its methods may be called from several goroutines.
type Journal struct {
	now func() time.Time

	mu   sync.Mutex
	file *os.File
	seq  int64
	err  error
	more chan struct{} // holds an element when there is something new to post
}

// Open starts an empty spool at path.
func Open(path string, now func() time.Time) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the record spool: %w", err)
	}
	return &Journal{now: now, file: f, more: make(chan struct{}, 1)}, nil
}

// durable lists the records that are on disk before anything that follows from them happens.
func durable(t runspec.Type) bool {
	return slices.Contains([]runspec.Type{runspec.TypeEpoch, runspec.TypeCheckpoint, runspec.TypeArtifact,
		runspec.TypeEvaluation, runspec.TypeResult}, t)
}

// Add appends a record with that body. Records that others depend on are synced. The first failure of the spool is
// kept: see Err.
func (j *Journal) Add(t runspec.Type, body any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return
	}
	record := runspec.Record{Seq: j.seq + 1, Time: j.now(), Type: t, Body: body}
	line, err := json.Marshal(record)
	for err == nil && len(line) >= runspec.MaxRecordBytes && record.Body != nil {
		if record.Body = shorter(record.Body); record.Body != nil {
			line, err = json.Marshal(record)
		}
	}
	if err == nil && len(line) >= runspec.MaxRecordBytes {
		err = fmt.Errorf("a %s record of %d bytes is too long", t, len(line))
	}
	if err == nil {
		_, err = j.file.Write(append(line, '\n'))
	}
	if err == nil && durable(t) {
		err = j.file.Sync()
	}
	if err != nil {
		j.err = fmt.Errorf("write record %d to the spool: %w", record.Seq, err)
		return
	}
	j.seq++
	select {
	case j.more <- struct{}{}:
	default: // the poster has not taken note of an earlier one yet
	}
}

// shorter is a body that says less, or nil when there is nothing to leave out: only names from outside make a record long.
func shorter(body any) any {
	switch b := body.(type) {
	case runspec.Evaluation:
		if len(b.Worst)+len(b.Confused) == 0 {
			return nil
		}
		b.Worst, b.Confused = b.Worst[:len(b.Worst)/2], b.Confused[:len(b.Confused)/2]
		return b
	case runspec.Log:
		const most = 4096
		if len(b.Text) <= most {
			return nil
		}
		b.Text = b.Text[:most] + "…"
		return b
	}
	return nil
}

// Log adds a sentence for people.
func (j *Journal) Log(level, text string) {
	j.Add(runspec.TypeLog, runspec.Log{Level: level, Text: text})
}

// Err is the first failure of the spool, after which nothing was written any more.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// last is the number of the newest record.
func (j *Journal) last() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.seq
}

// Close closes the spool.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.file.Sync(); err != nil && j.err == nil {
		j.err = fmt.Errorf("close the record spool: %w", err)
	}
	if err := j.file.Close(); err != nil && j.err == nil {
		j.err = fmt.Errorf("close the record spool: %w", err)
	}
	return j.err
}
