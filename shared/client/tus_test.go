package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
)

// store is a tus server of one upload that keeps what is right and misbehaves as trouble says.
type store struct {
	t       *testing.T
	mu      sync.Mutex
	length  int64
	data    []byte
	meta    string
	patches int
	heads   int
	creates int
	chunks  []int64
	// trouble may answer a request instead of the store (true), or cut it.
	trouble func(s *store, w http.ResponseWriter, r *http.Request) bool
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Tus-Resumable") != "1.0.0" {
		s.t.Errorf("%s %s without Tus-Resumable", r.Method, r.URL)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.Method {
	case http.MethodPost:
		s.creates++
	case http.MethodHead:
		s.heads++
	case http.MethodPatch:
		s.patches++
	}
	if s.trouble != nil && s.trouble(s, w, r) {
		return
	}
	switch r.Method {
	case http.MethodPost:
		s.length, _ = strconv.ParseInt(r.Header.Get("Upload-Length"), 10, 64)
		s.meta = r.Header.Get("Upload-Metadata")
		w.Header().Set("Location", "/api/v1/uploads/u1")
		w.WriteHeader(http.StatusCreated)
	case http.MethodHead:
		w.Header().Set("Upload-Offset", strconv.Itoa(len(s.data)))
	case http.MethodPatch:
		s.patch(w, r)
	}
}

func (s *store) patch(w http.ResponseWriter, r *http.Request) {
	at, _ := strconv.ParseInt(r.Header.Get("Upload-Offset"), 10, 64)
	if at != int64(len(s.data)) {
		w.WriteHeader(http.StatusConflict)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	sum := sha256.Sum256(body)
	if r.Header.Get("Upload-Checksum") != "sha256 "+base64.StdEncoding.EncodeToString(sum[:]) {
		w.WriteHeader(460)
		return
	}
	s.chunks = append(s.chunks, int64(len(body)))
	s.data = append(s.data, body...)
	w.Header().Set("Upload-Offset", strconv.Itoa(len(s.data)))
	w.WriteHeader(http.StatusNoContent)
}

// payload is two whole chunks and a bit.
func payload() []byte {
	b := make([]byte, 2*(8<<20)+12345)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func open(b []byte) func(int64) (io.ReadCloser, error) {
	return func(at int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b[at:])), nil }
}

func TestTusSurvives(t *testing.T) {
	want := payload()
	patch := func(n int, do func(*store, http.ResponseWriter, *http.Request)) func(*store, http.ResponseWriter, *http.Request) bool {
		return func(s *store, w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPatch || s.patches != n {
				return false
			}
			do(s, w, r)
			return true
		}
	}
	for name, trouble := range map[string]func(*store, http.ResponseWriter, *http.Request) bool{
		"nothing":                 nil,
		"an altered chunk":        patch(2, func(_ *store, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(460) }),
		"a busy server":           patch(1, func(_ *store, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }),
		"a locked upload":         patch(2, func(_ *store, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusLocked) }),
		"a cut before anything":   patch(2, func(*store, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
		"a cut with half a chunk": patch(2, func(s *store, _ http.ResponseWriter, r *http.Request) { s.keep(r, 3<<20); panic(http.ErrAbortHandler) }),
		"a lost answer":           patch(2, func(s *store, _ http.ResponseWriter, r *http.Request) { s.keep(r, 8<<20); panic(http.ErrAbortHandler) }),
		"a lost last answer":      patch(3, func(s *store, _ http.ResponseWriter, r *http.Request) { s.keep(r, 12345); panic(http.ErrAbortHandler) }),
		"lost bytes": patch(2, func(s *store, _ http.ResponseWriter, _ *http.Request) {
			s.data = s.data[:1000]
			panic(http.ErrAbortHandler)
		}),
		"another offset": patch(2, func(s *store, w http.ResponseWriter, _ *http.Request) {
			s.data = s.data[:5<<20]
			w.WriteHeader(http.StatusConflict)
		}),
		"a creation that fails": func(s *store, w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost && s.creates < 3 {
				w.WriteHeader(http.StatusBadGateway)
				return true
			}
			return false
		},
		"a cut at each first try": func(s *store, _ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPatch && s.patches%2 == 1 || r.Method == http.MethodHead && s.heads%2 == 1 {
				panic(http.ErrAbortHandler)
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &store{t: t, trouble: trouble}
			c := connect(t, s, 5*time.Second)
			var moved []int64
			waits, resumed := 0, 0
			err := c.Tus(t.Context(), map[string]string{"kind": "pack", "dataset": "d1"}, int64(len(want)), open(want),
				func(at int64) { moved = append(moved, at) },
				func(err error) {
					if err != nil {
						waits++
					} else {
						resumed++
					}
				})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(s.data, want) {
				t.Errorf("the server has %d bytes of %d, or others", len(s.data), len(want))
			}
			if s.meta != "dataset ZDE=,kind cGFjaw==" {
				t.Errorf("Upload-Metadata is %q", s.meta)
			}
			for _, n := range s.chunks {
				if n > 8<<20 {
					t.Errorf("a chunk of %d bytes", n)
				}
			}
			if moved[len(moved)-1] != int64(len(want)) {
				t.Errorf("progress ends at %v", moved)
			}
			if waits > 0 && resumed == 0 {
				t.Error("it waited, and never said that it goes on")
			}
		})
	}
}

// keep stores the first n bytes of a chunk whose answer will be lost.
func (s *store) keep(r *http.Request, n int) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, int64(n)))
	s.data = append(s.data, body...)
}

func TestTusFails(t *testing.T) {
	want := payload()[:100_000]
	broken := errors.New("daisy/1.jpg was changed")
	for name, tc := range map[string]struct {
		trouble func(*store, http.ResponseWriter, *http.Request) bool
		open    func(int64) (io.ReadCloser, error)
		check   func(error) bool
	}{
		"always altered": {
			func(_ *store, w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPatch {
					w.WriteHeader(460)
				}
				return r.Method == http.MethodPatch
			}, open(want), func(err error) bool { return strings.Contains(fmt.Sprint(err), "arrives altered") }},
		"too large": {
			func(_ *store, w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				_, _ = io.WriteString(w, `{"code":"too_large","message":"A pack may have 256 MiB."}`)
				return true
			}, open(want), func(err error) bool {
				return api.Code(err) == api.CodeTooLarge && err.Error() == "A pack may have 256 MiB."
			}},
		"forgotten": {
			func(_ *store, w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPost {
					w.WriteHeader(http.StatusNotFound)
				}
				return r.Method != http.MethodPost
			}, open(want), func(err error) bool { return errors.Is(err, client.ErrGone) }},
		"elsewhere": {
			func(_ *store, w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Location", "https://elsewhere.example/steal")
				w.WriteHeader(http.StatusCreated)
				return true
			}, open(want), func(err error) bool { return strings.Contains(fmt.Sprint(err), "outside the API") }},
		"unreadable": {nil, func(int64) (io.ReadCloser, error) { return nil, broken }, func(err error) bool { return errors.Is(err, broken) }},
		"shorter than said": {nil, func(int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(want[:5])), nil },
			func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := &store{t: t, trouble: tc.trouble}
			err := connect(t, s, 5*time.Second).Tus(t.Context(), nil, int64(len(want)), tc.open, func(int64) {}, func(error) {})
			if !tc.check(err) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestTusGivesUp(t *testing.T) {
	s := &store{t: t, trouble: func(_ *store, w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return r.Method == http.MethodPatch
	}}
	c := connect(t, s, 5*time.Second).Hurry(5*time.Second, 20*time.Millisecond)
	b := []byte("hello")
	err := c.Tus(t.Context(), nil, 5, open(b), func(int64) {}, func(error) {})
	if api.Code(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "without progress") {
		t.Errorf("error %v", err)
	}
}

func TestTusContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &store{t: t, trouble: func(_ *store, w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return r.Method == http.MethodPatch
	}}
	err := connect(t, s, 5*time.Second).Tus(ctx, nil, 5, open([]byte("hello")), func(int64) {}, func(error) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
