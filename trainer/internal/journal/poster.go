package journal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Commands that a server's answer may carry. Continue, or none, means to go on.
const (
	Continue = "continue"
	Stop     = "stop"   // keep the best so far
	Cancel   = "cancel" // give up
)

// ExecutorHeader names the executor in each request.
const ExecutorHeader = "Cultivar-Executor"

const (
	requestTimeout = 10 * time.Second
	firstWait      = 200 * time.Millisecond // after a failure; doubled each time
	longestWait    = 10 * time.Second
	gather         = 100 * time.Millisecond // how long a batch fills before it is sent
)

// ErrNotOwner says that another executor has the attempt: this one must end and leave no trace.
var ErrNotOwner = errors.New("another process is already working on this attempt")

// Poster sends a journal's records to the server.
type Poster struct {
	Journal  *Journal
	Spool    string // path of the journal's file
	Callback runspec.Callback
	Executor string
	Version  string
	// Command hears what the server wants, when it is neither empty nor Continue. It may hear the same again.
	Command func(command string)
}

// Run registers and posts until everything up to the end of the journal is acknowledged after finish was closed, or
// ctx ends. It returns ErrNotOwner when the server has given the attempt to another executor; that the server cannot
// be reached is no error.
func (p *Poster) Run(ctx context.Context, finish <-chan struct{}) error {
	if p.Callback.URL == "" {
		return nil
	}
	if err := p.persist(ctx, p.register); err != nil {
		return err
	}
	spool, err := os.Open(p.Spool)
	if err != nil {
		return fmt.Errorf("post records: %w", err)
	}
	defer spool.Close()
	var acked, offset int64
	for {
		for acked < p.Journal.last() {
			batch, ends, err := readBatch(spool, offset)
			if err != nil {
				return fmt.Errorf("post records: %w", err)
			}
			var reply reply
			err = p.persist(ctx, func(ctx context.Context) error { return p.send(ctx, "records", "application/x-ndjson", batch, &reply) })
			if err != nil {
				return err
			}
			if kept := min(reply.Ack-acked, int64(len(ends))); kept > 0 {
				acked, offset = acked+kept, ends[kept-1]
			} else if !sleep(ctx, firstWait) { // the server kept nothing: not so fast again
				return nil
			}
			if reply.Command != "" && reply.Command != Continue {
				p.Command(reply.Command)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.Journal.more:
			select {
			case <-finish: // at the end there is nothing to wait for
			case <-time.After(gather):
			}
		case <-finish:
			if acked >= p.Journal.last() {
				return nil
			}
		}
	}
}

// readBatch returns whole lines from offset on, within the limits of a batch, and the offset behind each.
func readBatch(spool io.ReaderAt, offset int64) (batch []byte, ends []int64, err error) {
	r := bufio.NewReaderSize(io.NewSectionReader(spool, offset, runspec.MaxBatchBytes), 1<<16)
	for len(ends) < runspec.MaxBatchRecords {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // the rest is being written, or belongs to the next batch
			break
		}
		if err != nil {
			return nil, nil, err
		}
		batch = append(batch, line...)
		ends = append(ends, offset+int64(len(batch)))
	}
	return batch, ends, nil
}

type reply struct {
	Ack     int64  `json:"ack"` // highest sequence number without a gap
	Command string `json:"command"`
}

func (p *Poster) register(ctx context.Context) error {
	body, err := json.Marshal(struct {
		Executor string `json:"executor"`
		Version  string `json:"version"`
		PID      int    `json:"pid"`
	}{p.Executor, p.Version, os.Getpid()})
	if err != nil {
		return fmt.Errorf("register with the server: %w", err)
	}
	return p.send(ctx, "register", "application/json", body, nil)
}

// persist repeats a request until it succeeds, the attempt turns out to be another's, or ctx ends.
func (p *Poster) persist(ctx context.Context, request func(context.Context) error) error {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		limited, cancel := context.WithTimeout(ctx, requestTimeout)
		err := request(limited)
		cancel()
		if err == nil || errors.Is(err, ErrNotOwner) || ctx.Err() != nil {
			return err
		}
		if !sleep(ctx, wait) {
			return err
		}
	}
}

// sleep waits and tells whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// send posts body and decodes the answer into out, if given.
func (p *Poster) send(ctx context.Context, path, kind string, body []byte, out any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(p.Callback.URL, "/")+"/"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("post %s: %w", path, err)
	}
	request.Header.Set("Content-Type", kind)
	request.Header.Set(ExecutorHeader, p.Executor)
	if p.Callback.TokenFile != "" {
		token, err := os.ReadFile(p.Callback.TokenFile)
		if err != nil {
			return fmt.Errorf("post %s: %w", path, err)
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("post %s: %w", path, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err != nil {
		return fmt.Errorf("post %s: %w", path, err)
	}
	switch {
	case response.StatusCode == http.StatusConflict:
		return ErrNotOwner
	case response.StatusCode/100 != 2:
		return fmt.Errorf("post %s: the server answers %s", path, response.Status)
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("post %s: the server's answer is not understood: %w", path, err)
	}
	return nil
}
