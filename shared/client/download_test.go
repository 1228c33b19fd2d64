package client_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// shelf serves one artifact and cuts each answer after limit bytes; 0: never.
type shelf struct {
	data     []byte
	limit    int
	ranges   []string
	noRanges bool // as behind a proxy that drops them
	status   []int
}

func (s *shelf) etag() string {
	sum := sha256.Sum256(s.data)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.ranges = append(s.ranges, r.Header.Get("Range"))
	if len(s.status) > 0 {
		status := s.status[0]
		s.status = s.status[1:]
		w.WriteHeader(status)
		return
	}
	if s.noRanges {
		r.Header.Del("Range")
	}
	w.Header().Set("ETag", s.etag())
	if s.limit > 0 {
		w = &limited{w, s.limit}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.data))
}

// limited cuts the connection after so many bytes.
type limited struct {
	http.ResponseWriter
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		_, _ = l.ResponseWriter.Write(p[:l.left])
		cut(l.ResponseWriter)
	}
	l.left -= len(p)
	return l.ResponseWriter.Write(p)
}

func (s *shelf) artifact() runspec.Artifact {
	return runspec.Artifact{Name: "model.h5", Format: "h5", Bytes: int64(len(s.data)), SHA256: strings.Trim(s.etag(), `"`)}
}

func TestDownload(t *testing.T) {
	data := payload()[:3<<20]
	other := bytes.Repeat([]byte("x"), 1000)
	for name, tc := range map[string]struct {
		shelf *shelf
		part  []byte // left by an earlier call
		first string // Range of the first request
	}{
		"straight":              {&shelf{data: data}, nil, ""},
		"cut again and again":   {&shelf{data: data, limit: 700_000}, nil, ""},
		"busy":                  {&shelf{data: data, status: []int{503, 502, 429}}, nil, ""},
		"resumed":               {&shelf{data: data}, data[:1_000_000], "bytes=1000000-"},
		"resumed, no ranges":    {&shelf{data: data, noRanges: true}, data[:1_000_000], "bytes=1000000-"},
		"part of another file":  {&shelf{data: data}, other, "bytes=1000-"},
		"part is larger":        {&shelf{data: data}, append(bytes.Clone(data), 1), ""},
		"part is whole":         {&shelf{data: data}, data, "none"},
		"part is whole, wrong":  {&shelf{data: data}, make([]byte, len(data)), ""},
		"range not satisfiable": {&shelf{data: data, status: []int{416}}, data[:10], "bytes=10-"},
		"empty file":            {&shelf{data: nil}, nil, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			dest := filepath.Join(t.TempDir(), "flowers.h5")
			if tc.part != nil {
				if err := os.WriteFile(dest+".part", tc.part, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var done, total int64
			err := connect(t, tc.shelf, 5*time.Second).Download(t.Context(), "r", tc.shelf.artifact(), dest, func(d, n int64) { done, total = d, n })
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(dest)
			if err != nil || !bytes.Equal(got, tc.shelf.data) {
				t.Errorf("the file has %d bytes of %d, or others (%v)", len(got), len(tc.shelf.data), err)
			}
			if _, err := os.Stat(dest + ".part"); !os.IsNotExist(err) {
				t.Errorf("the part file is left: %v", err)
			}
			if done != int64(len(tc.shelf.data)) || total != done {
				t.Errorf("progress ends at %d of %d", done, total)
			}
			first := "none"
			if len(tc.shelf.ranges) > 0 {
				first = tc.shelf.ranges[0]
			}
			if first != tc.first {
				t.Errorf("first request for %q, want %q", first, tc.first)
			}
		})
	}
}

func TestDownloadRefusesOtherBytes(t *testing.T) {
	s := &shelf{data: []byte("what the run made")}
	a := s.artifact()
	s.data = []byte("what someone made")
	dest := filepath.Join(t.TempDir(), "m.h5")
	err := connect(t, s, 5*time.Second).Download(t.Context(), "r", a, dest, nil)
	if err == nil || !strings.Contains(err.Error(), "wrong SHA-256") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(dest); !os.IsNotExist(err) {
		t.Errorf("a wrong file is there: %v", err)
	}
}

func TestDownloadErrors(t *testing.T) {
	s := &shelf{data: []byte("x"), status: []int{404}}
	dir := t.TempDir()
	c := connect(t, s, 5*time.Second)
	if err := c.Download(t.Context(), "r", s.artifact(), filepath.Join(dir, "a"), nil); api.Code(err) != api.CodeNotFound {
		t.Errorf("error %v", err)
	}
	if err := c.Download(t.Context(), "r", s.artifact(), filepath.Join(dir, "no", "such", "folder"), nil); !os.IsNotExist(unwrapped(err)) {
		t.Errorf("error %v", err)
	}
}

// unwrapped returns the innermost error of a chain.
func unwrapped(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok || u.Unwrap() == nil {
			return err
		}
		err = u.Unwrap()
	}
}

func TestOpenArtifact(t *testing.T) {
	s := &shelf{data: []byte("bytes of a model")}
	c := connect(t, s, 5*time.Second)
	r, err := c.OpenArtifact(t.Context(), "r", "model.h5")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || string(got) != string(s.data) {
		t.Errorf("%q, %v", got, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	s.status = []int{404}
	if _, err := c.OpenArtifact(t.Context(), "r", "../../etc/passwd"); api.Code(err) != api.CodeNotFound {
		t.Errorf("error %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "nobody.sock")
	for _, server := range []string{"unix://" + sock, "http://127.0.0.1:1"} {
		c, err := client.New(client.Options{Server: server})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Version(t.Context())
		if api.Code(err) != api.CodeUnavailable || !strings.Contains(fmt.Sprint(err), server) {
			t.Errorf("%s: error %v", server, err)
		}
	}
}
