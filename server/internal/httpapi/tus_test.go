package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

func TestUploadOptions(t *testing.T) {
	f := newFixture(t)
	resp := f.do("", "OPTIONS", "/api/v1/uploads", nil)
	f.decode(resp, 200, nil)
	for _, want := range []string{"creation", "checksum", "expiration", "termination"} {
		if !strings.Contains(resp.Header.Get("Tus-Extension"), want) {
			t.Errorf("Tus-Extension: %s", resp.Header.Get("Tus-Extension"))
		}
	}
	if strings.Contains(resp.Header.Get("Tus-Extension"), "concatenation") || resp.Header.Get("Tus-Checksum-Algorithm") != "sha256" {
		t.Errorf("headers: %v", resp.Header)
	}
}

func TestUploadRefusals(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		name    string
		headers []string
		status  int
		message string
	}{
		{"unknown kind", tusHeaders("zip", "", 10), 400, "zip"},
		{"manifest of nothing", tusHeaders("manifest", "none", 10), 404, "none"},
		{"empty", tusHeaders("pack", "", 0), 400, "Upload-Length"},
		{"at the limit", tusHeaders("pack", "", 256<<20), 201, ""},
		{"one byte beyond", tusHeaders("pack", "", 256<<20+1), 413, "268435456"},
		{"no length", []string{"Tus-Resumable", "1.0.0"}, 400, "Upload-Length"},
		{"another tus", []string{"Tus-Resumable", "0.2.0", "Upload-Length", "5"}, 412, "Tus-Resumable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp := f.do("alice", "POST", "/api/v1/uploads", nil, c.headers...)
			if c.status == 201 {
				f.decode(resp, 201, nil)
				return
			}
			var e api.Error
			f.decode(resp, c.status, &e)
			if !strings.Contains(e.Message, c.message) || e.Code == "" {
				t.Errorf("got %+v", e)
			}
		})
	}
	path := f.createUpload("alice", "pack", "", 100)
	f.decode(f.patch("alice", path, 0, []byte("xxxxx"), "md5 abc"), 400, nil)
	f.decode(f.patch("alice", path, 7, []byte("xxxxx"), ""), 409, nil)
	f.decode(f.patch("bob", path, 0, []byte("xxxxx"), ""), 404, nil)
	f.decode(f.patch("alice", path, 0, bytes.Repeat([]byte("x"), 101), ""), 413, nil)
	if got := f.offset("alice", path); got != "0" {
		t.Errorf("offset after refusals: %s", got)
	}
}

func TestAlteredChunkCountsForNothing(t *testing.T) {
	f := newFixture(t)
	m, blobs := photos([]string{"a", "b"}, 5)
	content := packOf(t, m, blobs)
	path := f.createUpload("alice", "pack", "", len(content))
	half := len(content) / 2
	f.decode(f.patch("alice", path, 0, content[:half], checksum(content[:half])), 204, nil)
	altered := bytes.Clone(content[half:])
	altered[3] ^= 1
	var e api.Error
	f.decode(f.patch("alice", path, half, altered, checksum(content[half:])), 460, &e)
	if !strings.Contains(e.Message, "again") {
		t.Errorf("answer: %+v", e)
	}
	if got := f.offset("alice", path); got != strconv.Itoa(half) {
		t.Errorf("offset after an altered chunk: %s, want %d", got, half)
	}
	f.decode(f.patch("alice", path, half, content[half:], checksum(content[half:])), 204, nil)
	f.packStored("alice", content)
}

// packStored looks at the one pack of a user.
func (f *fixture) packStored(user string, content []byte) {
	f.t.Helper()
	found, err := filepath.Glob(filepath.Join(f.dir, "volume", runspec.PacksDir(user), "*", "*.pack"))
	if err != nil || len(found) != 1 {
		f.t.Fatalf("packs: %v, %v", found, err)
	}
	if b, err := os.ReadFile(found[0]); err != nil || !bytes.Equal(b, content) {
		f.t.Errorf("the stored pack differs from what was sent (%v)", err)
	}
	info, err := os.Stat(found[0])
	if err != nil || info.Mode().Perm() != 0o400 {
		f.t.Errorf("the stored pack is not read-only: %v, %v", info, err)
	}
}

// TestCutMidChunk breaks the connection within a PATCH, restarts the server and goes on from what it says it has.
func TestCutMidChunk(t *testing.T) {
	for _, c := range []struct {
		name    string
		checked bool
	}{{"with a checksum the chunk is lost", true}, {"without one what arrived is kept", false}} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			m, blobs := photos([]string{"a", "b"}, 40)
			content := packOf(t, m, blobs)
			path := f.createUpload("alice", "pack", "", len(content))
			const acked, sent = 1000, 5000
			f.decode(f.patch("alice", path, 0, content[:acked], checksum(content[:acked])), 204, nil)
			f.cut(path, acked, content[acked:], sent, c.checked)
			want := strconv.Itoa(acked)
			if !c.checked {
				want = strconv.Itoa(acked + sent)
				// Not asked by HEAD, which would end the request that still reads what arrived.
				id := path[strings.LastIndex(path, "/")+1:]
				eventually(t, "what arrived is stored", func() bool {
					u, err := f.store.Upload(t.Context(), "alice", id)
					return err == nil && u.Received == acked+sent
				})
			}
			if got := f.offset("alice", path); got != want {
				t.Fatalf("offset after the cut: %s, want %s", got, want)
			}
			f.restart()
			if got := f.offset("alice", path); got != want {
				t.Fatalf("offset after a restart: %s, want %s", got, want)
			}
			at, err := strconv.Atoi(want)
			if err != nil {
				t.Fatal(err)
			}
			f.decode(f.patch("alice", path, at, content[at:], checksum(content[at:])), 204, nil)
			f.packStored("alice", content)
		})
	}
}

// cut sends the head of a PATCH and n bytes of its body, and closes the connection.
func (f *fixture) cut(path string, offset int, body []byte, n int, checked bool) {
	f.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(f.t.Context(), "tcp", f.api.Listener.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	head := fmt.Sprintf("PATCH %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer alice\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: %d\r\n"+
		"Content-Type: application/offset+octet-stream\r\nContent-Length: %d\r\n", path, offset, len(body))
	if checked {
		head += "Upload-Checksum: " + checksum(body) + "\r\n"
	}
	if _, err := conn.Write(append([]byte(head+"\r\n"), body[:n]...)); err != nil {
		f.t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		f.t.Fatal(err)
	}
}

func TestBadContentIsRefusedAndForgotten(t *testing.T) {
	f := newFixture(t)
	m, blobs := photos([]string{"a", "b"}, 5)
	content := packOf(t, m, blobs)
	d := f.createDataset("alice", m)
	altered := bytes.Clone(content)
	altered[len(altered)-1] ^= 1
	other, _ := photos([]string{"a", "c"}, 5)
	for _, c := range []struct {
		name, kind string
		content    []byte
		status     int
		message    string
	}{
		{"a pack with an altered image", "pack", altered, 400, "damaged"},
		{"no pack at all", "pack", []byte("hello"), 400, "not a pack"},
		{"a manifest before its images", "manifest", manifestBytes(t, m), 409, "10 of the 10 images"},
		{"another manifest", "manifest", manifestBytes(t, other), 400, "digest"},
		{"no manifest at all", "manifest", []byte("{}\n"), 400, "manifest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dataset := ""
			if c.kind == "manifest" {
				dataset = d.Id
			}
			path := f.createUpload("alice", c.kind, dataset, len(c.content))
			var e api.Error
			f.decode(f.patch("alice", path, 0, c.content, checksum(c.content)), c.status, &e)
			if !strings.Contains(e.Message, c.message) {
				t.Errorf("got %+v", e)
			}
			f.decode(f.do("alice", "HEAD", path, nil, "Tus-Resumable", "1.0.0"), 404, nil)
		})
	}
	if left, _ := filepath.Glob(filepath.Join(f.dir, "volume", runspec.UserDir("alice"), "uploads", "*")); len(left) > 0 {
		t.Errorf("left on disk: %v", left)
	}
	f.upload("alice", "pack", "", content, 204)
	f.upload("alice", "pack", "", content, 204) // again: no error, no second copy
	f.upload("alice", "manifest", d.Id, manifestBytes(t, m), 204)
	f.upload("alice", "manifest", d.Id, manifestBytes(t, m), 204)
	f.packStored("alice", content)
}

// TestLastByteBeforeACrash: the bytes are durable, but the server ended before it took them in. Whoever asks for the
// offset afterwards must not hear "complete" of something that was not stored.
func TestLastByteBeforeACrash(t *testing.T) {
	f := newFixture(t)
	m, blobs := photos([]string{"a", "b"}, 5)
	content := packOf(t, m, blobs)
	path := f.createUpload("alice", "pack", "", len(content))
	id := path[strings.LastIndex(path, "/")+1:]
	part := filepath.Join(f.dir, "volume", runspec.UserDir("alice"), "uploads", id+".part")
	if err := os.WriteFile(part, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.store.AdvanceUpload(context.Background(), "alice", id, int64(len(content)), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	f.restart()
	if got := f.offset("alice", path); got != strconv.Itoa(len(content)) {
		t.Errorf("offset: %s", got)
	}
	f.packStored("alice", content)
}

func TestUploadsExpireAndEnd(t *testing.T) {
	f := newFixture(t)
	first, second := f.createUpload("alice", "pack", "", 100), f.createUpload("alice", "pack", "", 100)
	f.decode(f.do("alice", "DELETE", first, nil, "Tus-Resumable", "1.0.0"), 204, nil)
	f.decode(f.do("alice", "HEAD", first, nil, "Tus-Resumable", "1.0.0"), 404, nil)
	f.now.advance(23 * time.Hour)
	f.decode(f.patch("alice", second, 0, []byte("12345"), ""), 204, nil) // which puts the end off
	f.now.advance(23 * time.Hour)
	if got := f.offset("alice", second); got != "5" {
		t.Errorf("offset: %s", got)
	}
	f.now.advance(2 * time.Hour)
	f.decode(f.do("alice", "HEAD", second, nil, "Tus-Resumable", "1.0.0"), 404, nil)
	if err := f.ingest.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(f.dir, "volume", runspec.UserDir("alice"), "uploads", "*")); len(left) > 0 {
		t.Errorf("left on disk: %v", left)
	}
}

func TestFullDiskIsSaidEarly(t *testing.T) {
	f := newFixture(t)
	f.createUpload("alice", "pack", "", 100)
	f.free = 49 // of 1000
	resp := f.do("alice", "POST", "/api/v1/uploads", nil, tusHeaders("pack", "", 100)...)
	var e api.Error
	f.decode(resp, 503, &e)
	if e.Code != api.CodeUnavailable || !strings.Contains(e.Message, "full") || resp.Header.Get("Retry-After") == "" {
		t.Errorf("answer: %+v, %v", e, resp.Header)
	}
	m, _ := photos([]string{"a", "b"}, 5)
	f.call("alice", "POST", "/api/v1/datasets", api.DatasetCreate{Name: "x", Digest: strings.Repeat("0", 64), Images: len(m.Images), Bytes: 1}, 503, &e)
}

// TestStalledPatchDoesNotHoldUpHead: the client noticed the broken link first, and asks for the offset while its old
// request still hangs.
func TestStalledPatchDoesNotHoldUpHead(t *testing.T) {
	f := newFixture(t)
	path := f.createUpload("alice", "pack", "", 10_000)
	r, w := io.Pipe()
	defer func() { _ = w.Close() }()
	req, err := http.NewRequestWithContext(t.Context(), "PATCH", f.api.URL+path, bufio.NewReader(r))
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = 10_000
	for k, v := range map[string]string{"Authorization": "Bearer alice", "Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"} {
		req.Header.Set(k, v)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
		}
	}()
	if _, err := w.Write([]byte("12345")); err != nil {
		t.Fatal(err)
	}
	// Not before the server reads the body: tusd cannot yet be asked to let go of an upload before that.
	arrived := filepath.Join(f.dir, "volume", runspec.UserDir("alice"), "uploads", "*.part")
	eventually(t, "the bytes arrive", func() bool {
		parts, err := filepath.Glob(arrived)
		if err != nil || len(parts) != 1 {
			return false
		}
		info, err := os.Stat(parts[0])
		return err == nil && info.Size() == 5
	})
	if got := f.offset("alice", path); got != "5" {
		t.Errorf("offset: %s", got)
	}
	_ = w.Close()
	<-ended
}
