package httpapi_test

import (
	"archive/zip"
	"bytes"
	"context"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/unpack"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/archive"
	"github.com/cultivar-ml/cultivar/shared/manifest"
)

// asUnpacker makes the test binary be the process that looks through zip files.
const asUnpacker = "unpack"

func TestMain(m *testing.M) {
	if len(os.Args) < 2 || os.Args[1] != asUnpacker {
		os.Exit(m.Run())
	}
	f := flag.NewFlagSet("unpack", flag.ExitOnError)
	name, into := f.String("name", "", ""), f.String("into", "", "")
	_ = f.Parse(os.Args[2:]) // exits
	switch *name {
	case "wild": // as if a decoder had been taken over, or ran out of what it may use
		_ = os.WriteFile(filepath.Join(*into, strings.Repeat("0", 64)+".pack"), []byte("no pack"), 0o600)
		fmt.Println(`{"name":"wild","digest":"` + strings.Repeat("0", 64) + `","images":2,"bytes":10}`)
		os.Exit(0)
	case "killed":
		p, _ := os.FindProcess(os.Getpid())
		_ = p.Kill()
		select {}
	}
	if err := unpack.Run(context.Background(), os.Stdin, *name, *into, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// zipped is a zip file of n images in each class, all different.
func zipped(t *testing.T, n int, classes ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for c, class := range classes {
		for i := range n {
			im := image.NewRGBA(image.Rect(0, 0, 40, 40))
			for p := range 40 * 40 {
				im.Set(p%40, p/40, color.RGBA{uint8(60 * c), uint8(7 * i * p), uint8(p), 255})
			}
			w, err := z.Create(fmt.Sprintf("%s/%d.png", class, i))
			if err == nil {
				err = png.Encode(w, im)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	w, err := z.Create(classes[0] + "/notes.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte("of the photographer")) // into memory
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// left are the files that uploads have left behind.
func (f *fixture) left() []string {
	f.t.Helper()
	found, err := filepath.Glob(filepath.Join(f.dir, "volume", "users", "*", "uploads", "*"))
	if err != nil {
		f.t.Fatal(err)
	}
	return found
}

func TestZip(t *testing.T) {
	f := newFixture(t)
	content := zipped(t, 6, "Bäume", "Blumen")
	var first api.DatasetImport
	f.decode(f.do("alice", "POST", "/api/v1/datasets/zip?name=garden", bytes.NewReader(content), "Content-Type", "application/zip"), 201, &first)
	want := []api.ClassCount{{Name: "Blumen", Images: 6}, {Name: "Bäume", Images: 6}}
	if d := first.Dataset; d.State != api.DatasetReady || d.Name != "garden" || d.Images != 12 || !slices.Equal(d.Classes, want) {
		t.Errorf("%+v", d)
	}
	if first.Skipped[string(manifest.NotAnImage)] != 1 || !slices.ContainsFunc(first.Problems, func(p manifest.Problem) bool { return p.Path == "Bäume/notes.txt" }) {
		t.Errorf("left out %v, problems %+v", first.Skipped, first.Problems)
	}
	run := f.run("alice", first.Dataset)
	f.await("alice", run.Id, api.StateSucceeded)

	// Once more, as a form: the same photos are the same dataset.
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	_ = w.WriteField("email", "alice@example.org")
	part, err := w.CreateFormFile("file", "garden.zip")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = part.Write(content) // into memory
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var again api.DatasetImport
	f.decode(f.do("alice", "POST", "/api/v1/datasets/zip", bytes.NewReader(form.Bytes()), "Content-Type", w.FormDataContentType()), 200, &again)
	if again.Dataset.Id != first.Dataset.Id {
		t.Errorf("another dataset: %+v", again.Dataset)
	}
	var others api.DatasetImport
	f.decode(f.do("bob", "POST", "/api/v1/datasets/zip", bytes.NewReader(form.Bytes()), "Content-Type", w.FormDataContentType()), 201, &others)
	if others.Dataset.Id == first.Dataset.Id || others.Dataset.Name != "garden" {
		t.Errorf("bob's dataset: %+v", others.Dataset)
	}
	if left := f.left(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestZipRefusals(t *testing.T) {
	f := newFixture(t)
	form := func(field string) (string, []byte) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		_ = w.WriteField(field, "x")
		_ = w.Close()
		return w.FormDataContentType(), b.Bytes()
	}
	kind, without := form("photo")
	for name, c := range map[string]struct {
		content []byte
		kind    string
		name    string
		status  int
		says    string
	}{
		"no zip":              {[]byte("GIF89a"), "application/zip", "x", 400, "no zip file"},
		"one class":           {zipped(t, 3, "only"), "application/zip", "x", 400, "Only one class"},
		"cut":                 {zipped(t, 3, "a", "b")[:500], "application/zip", "x", 400, "no zip file"},
		"form without a file": {without, kind, "x", 400, `no field "file"`},
		"broken form":         {without[:10], kind, "x", 400, `no field "file"`},
		"name with a NUL":     {zipped(t, 3, "a", "b"), "application/zip", "a%00b", 400, "dataset's name"},
		"name of 201 bytes":   {zipped(t, 3, "a", "b"), "application/zip", strings.Repeat("n", 201), 400, "dataset's name"},
		"unpacker runs wild":  {zipped(t, 3, "a", "b"), "application/zip", "wild", 400, "not a pack"},
		"unpacker is killed":  {zipped(t, 3, "a", "b"), "application/zip", "killed", 400, "took more memory or time"},
	} {
		t.Run(name, func(t *testing.T) {
			var e api.Error
			f.decode(f.do("alice", "POST", "/api/v1/datasets/zip?name="+c.name, bytes.NewReader(c.content), "Content-Type", c.kind), c.status, &e)
			if !strings.Contains(e.Message, c.says) {
				t.Errorf("says %q", e.Message)
			}
		})
	}
	var e api.Error
	f.decode(f.do("alice", "POST", "/api/v1/datasets/zip", io.MultiReader(strings.NewReader("PK")), "Content-Type", "application/zip"), 400, &e)
	if !strings.Contains(e.Message, "Content-Length") {
		t.Errorf("without a length: %q", e.Message)
	}
	if left := f.left(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	var page api.DatasetPage
	f.call("alice", "GET", "/api/v1/datasets", nil, 200, &page)
	for _, d := range page.Datasets {
		if d.State == api.DatasetReady {
			t.Errorf("a dataset of what was refused: %+v", d)
		}
	}
}

// send makes a request whose body is shorter than it says, and returns the status line if there is one.
func (f *fixture) send(length int64, body []byte) string {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.api.Listener.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	fmt.Fprintf(conn, "POST /api/v1/datasets/zip HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer alice\r\nContent-Length: %d\r\n\r\n%s", length, body)
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	answer := make([]byte, 12)
	n, _ := io.ReadFull(conn, answer)
	return string(answer[:n])
}

func TestZipRoom(t *testing.T) {
	f := newFixture(t)
	if got := f.send(archive.MaxBytes+1, nil); got != "HTTP/1.1 413" {
		t.Errorf("one byte beyond the limit: %q", got)
	}
	f.free = 80 // GB of 1000, of which 50 must stay
	if got := f.send(15<<30+1, nil); got != "HTTP/1.1 503" {
		t.Errorf("more than there is room for: %q", got)
	}
	if left := f.left(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A sender who goes away in the middle leaves nothing, and what a crash leaves is gone with the upload.
func TestZipGivenUp(t *testing.T) {
	f := newFixture(t)
	conn, err := net.Dial("tcp", f.api.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /api/v1/datasets/zip HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer alice\r\nContent-Length: %d\r\n\r\nPK", 1<<20)
	eventually(t, "the upload has begun", func() bool { return len(f.left()) == 1 })
	part := f.left()[0]
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the upload is given up", func() bool { return len(f.left()) == 0 })

	path := f.createUpload("alice", "pack", "", 10)
	folder := strings.TrimSuffix(part, filepath.Base(part)) + filepath.Base(path) + ".d"
	if err := os.MkdirAll(filepath.Join(folder, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	f.now.advance(25 * time.Hour)
	if err := f.ingest.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := f.left(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Who may not upload may send no zip file.
func TestZipScope(t *testing.T) {
	f := newFixture(t)
	resp := f.do("alice+read", http.MethodPost, "/api/v1/datasets/zip", bytes.NewReader(zipped(t, 2, "a", "b")))
	f.decode(resp, 403, nil)
}
