package journal_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/journal"
)

// server keeps records as the real one does: contiguous ones only, each once.
type server struct {
	mu         sync.Mutex
	registered string
	token      string
	seqs       []int64
	broken     int // how many requests fail before they succeed
	keep       int // how many records of a batch are kept; 0: all
	command    string
	owned      bool
	largest    int
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken > 0 {
		s.broken--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if s.owned {
		w.WriteHeader(http.StatusConflict)
		return
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(r.Body); err != nil {
		return
	}
	s.token = r.Header.Get("Authorization")
	s.largest = max(s.largest, body.Len())
	if strings.HasSuffix(r.URL.Path, "/register") {
		s.registered = r.Header.Get(journal.ExecutorHeader) + " " + body.String()
		return
	}
	kept := 0
	lines := bufio.NewScanner(&body)
	lines.Buffer(nil, runspec.MaxRecordBytes)
	for lines.Scan() {
		var record runspec.Record
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if record.Seq == int64(len(s.seqs))+1 && (s.keep == 0 || kept < s.keep) {
			s.seqs = append(s.seqs, record.Seq)
			kept++
		}
	}
	fmt.Fprintf(w, `{"ack":%d,"command":%q}`, len(s.seqs), s.command)
}

func (s *server) kept() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seqs)
}

func start(t *testing.T, s *server) (*journal.Journal, *journal.Poster) {
	t.Helper()
	dir := t.TempDir()
	j, err := journal.Open(filepath.Join(dir, "records.jsonl"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return j, &journal.Poster{Journal: j, Spool: filepath.Join(dir, "records.jsonl"), Executor: "me", Version: "v1",
		Callback: runspec.Callback{URL: web.URL + "/internal/v1/attempts/t/1", TokenFile: token}, Command: func(string) {}}
}

func TestEachRecordArrivesOnce(t *testing.T) {
	for name, s := range map[string]*server{
		"at once":                     {},
		"after failures":              {broken: 2},
		"a server that keeps a part":  {keep: 400},
		"a server that keeps one one": {keep: 1000, broken: 1},
	} {
		t.Run(name, func(t *testing.T) {
			j, p := start(t, s)
			const n = 3000
			finish, ended := make(chan struct{}), make(chan error)
			go func() { ended <- p.Run(t.Context(), finish) }()
			for i := range n {
				j.Add(runspec.TypeStep, runspec.Step{Step: i, Loss: 0.5})
			}
			close(finish)
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if s.kept() != n {
				t.Errorf("%d of %d records arrived", s.kept(), n)
			}
			if !strings.HasPrefix(s.registered, `me {"executor":"me","version":"v1","pid":`) || s.token != "Bearer secret" {
				t.Errorf("registered as %q with %q", s.registered, s.token)
			}
			if s.largest > runspec.MaxBatchBytes {
				t.Errorf("a request had %d bytes", s.largest)
			}
		})
	}
}

func TestAnotherOwns(t *testing.T) {
	_, p := start(t, &server{owned: true})
	if err := p.Run(t.Context(), nil); !errors.Is(err, journal.ErrNotOwner) {
		t.Errorf("error is %v", err)
	}
}

func TestCommands(t *testing.T) {
	j, p := start(t, &server{command: journal.Stop})
	heard := make(chan string, 10)
	p.Command = func(c string) { heard <- c }
	finish := make(chan struct{})
	ended := make(chan error)
	go func() { ended <- p.Run(t.Context(), finish) }()
	j.Log("info", "one")
	if c := <-heard; c != journal.Stop {
		t.Errorf("heard %q", c)
	}
	close(finish)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A server that is away never holds up the work, and the end waits no longer than ctx.
func TestServerAway(t *testing.T) {
	j, p := start(t, &server{broken: 1 << 30})
	ctx, cancel := context.WithCancel(t.Context())
	finish := make(chan struct{})
	ended := make(chan error)
	go func() { ended <- p.Run(ctx, finish) }()
	for range 100 {
		j.Log("info", "going on")
	}
	close(finish)
	cancel()
	<-ended
	if err := j.Err(); err != nil {
		t.Error(err)
	}
}

func TestLongRecordsAreShortened(t *testing.T) {
	dir := t.TempDir()
	j, err := journal.Open(filepath.Join(dir, "records.jsonl"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	var e runspec.Evaluation
	for range 50 {
		long := strings.Repeat("x", 2000)
		e.Worst = append(e.Worst, runspec.Mistake{Path: long, Actual: long})
	}
	j.Add(runspec.TypeEvaluation, e)
	j.Log("info", strings.Repeat("y", 100_000))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "records.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d records", len(lines))
	}
	for i, line := range lines {
		var r runspec.Record
		if err := json.Unmarshal([]byte(line), &r); err != nil || len(line) >= runspec.MaxRecordBytes || r.Seq != int64(i+1) {
			t.Errorf("record %d has %d bytes, %v", r.Seq, len(line), err)
		}
	}
}

func TestExecutor(t *testing.T) {
	for _, c := range []struct {
		env string
		ok  bool
	}{{"", true}, {"5f0c-11ee_a.b", true}, {"../up", false}, {"..", false}, {"a/b", false}} {
		t.Setenv(journal.ExecutorEnv, c.env)
		name, err := journal.Executor()
		if (err == nil) != c.ok || c.ok && (name == "" || strings.ContainsAny(name, "/ ")) {
			t.Errorf("%q: %q, %v", c.env, name, err)
		}
	}
}
