package client_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/pack"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// portal is as much of a server as an upload needs; it keeps only what is right.
type portal struct {
	t         *testing.T
	mu        sync.Mutex
	set       api.Dataset
	blobs     map[string]bool
	uploads   map[string]*parcel
	questions []int // hashes in each
	packs     int
	forget    int // this many complete packs are lost with their upload
	images    int // in the last manifest
}

type parcel struct {
	kind, dataset string
	length        int64
	data          []byte
}

func newPortal(t *testing.T) *portal {
	return &portal{t: t, blobs: map[string]bool{}, uploads: map[string]*parcel{}}
}

func (p *portal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	route := strings.TrimPrefix(r.URL.Path, "/api/v1/")
	switch {
	case route == "datasets":
		p.create(w, r)
	case route == "datasets/d1":
		_ = json.NewEncoder(w).Encode(p.set)
	case route == "blobs/missing":
		p.missing(w, r)
	case route == "uploads":
		p.open(w, r)
	case strings.HasPrefix(route, "uploads/"):
		p.upload(w, r, strings.TrimPrefix(route, "uploads/"))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (p *portal) create(w http.ResponseWriter, r *http.Request) {
	var c api.DatasetCreate
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		p.t.Error(err)
	}
	if p.set.Digest == c.Digest {
		_ = json.NewEncoder(w).Encode(p.set)
		return
	}
	p.set = api.Dataset{Id: "d1", Name: c.Name, Digest: c.Digest, State: api.DatasetReceiving, Images: c.Images, Bytes: c.Bytes}
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(p.set)
}

func (p *portal) missing(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || len(body)%32 != 0 {
		p.t.Errorf("a question of %d bytes, %v", len(body), err)
	}
	n := len(body) / 32
	p.questions = append(p.questions, n)
	bits := make([]byte, (n+7)/8)
	for i := range n {
		if !p.blobs[hex.EncodeToString(body[32*i:32*i+32])] {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	_, _ = w.Write(bits)
}

func (p *portal) open(w http.ResponseWriter, r *http.Request) {
	u := &parcel{}
	u.length, _ = strconv.ParseInt(r.Header.Get("Upload-Length"), 10, 64)
	for _, pair := range strings.Split(r.Header.Get("Upload-Metadata"), ",") {
		key, value, _ := strings.Cut(pair, " ")
		text, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			p.t.Error(err)
		}
		switch key {
		case "kind":
			u.kind = string(text)
		case "dataset":
			u.dataset = string(text)
		}
	}
	id := fmt.Sprint("u", len(p.uploads)+1)
	p.uploads[id] = u
	w.Header().Set("Location", "/api/v1/uploads/"+id)
	w.WriteHeader(http.StatusCreated)
}

func (p *portal) upload(w http.ResponseWriter, r *http.Request, id string) {
	u := p.uploads[id]
	if u == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if r.Method == http.MethodPatch {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		u.data = append(u.data, body...)
		if int64(len(u.data)) == u.length && !p.complete(w, id, u) {
			return
		}
		w.Header().Set("Upload-Offset", strconv.Itoa(len(u.data)))
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Upload-Offset", strconv.Itoa(len(u.data)))
}

// complete stores what arrived; false when it has answered itself.
func (p *portal) complete(w http.ResponseWriter, id string, u *parcel) bool {
	if u.kind == "pack" {
		if p.forget > 0 {
			p.forget--
			delete(p.uploads, id)
			panic(http.ErrAbortHandler)
		}
		index, err := pack.Verify(bytes.NewReader(u.data))
		if err != nil {
			p.t.Errorf("a pack arrived damaged: %v", err)
		}
		p.packs++
		for _, e := range index.Entries {
			p.blobs[e.SHA256] = true
		}
		return true
	}
	m, err := manifest.Decode(bytes.NewReader(u.data))
	if err != nil {
		p.t.Errorf("the manifest arrived damaged: %v", err)
		return true
	}
	for _, im := range m.Images {
		if !p.blobs[im.SHA256] {
			w.WriteHeader(http.StatusConflict)
			return false
		}
	}
	if got := manifest.Digest(m.Images); got != p.set.Digest || u.dataset != "d1" {
		p.t.Errorf("manifest of digest %s for dataset %s", got, u.dataset)
	}
	p.images, p.set.State = len(m.Images), api.DatasetReady
	return true
}

// folder writes n images of two classes and returns their manifest; every tenth repeats the bytes of the first.
func folder(t *testing.T, n int) (string, *manifest.Manifest) {
	t.Helper()
	root := t.TempDir()
	m := &manifest.Manifest{Name: "flowers", Classes: []string{"daisy", "rose"}}
	for _, class := range m.Classes {
		if err := os.Mkdir(filepath.Join(root, class), 0o700); err != nil {
			t.Fatal(err)
		}
		for i := range n / 2 {
			text := fmt.Sprint("photo ", class, i)
			if i%10 == 9 {
				text = "photo " + class + "0"
			}
			name := fmt.Sprintf("%s/%05d.jpg", class, i)
			if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256([]byte(text))
			m.Images = append(m.Images, manifest.Image{Class: class, Path: name, SHA256: hex.EncodeToString(sum[:]),
				Size: int64(len(text)), Width: 64, Height: 64, Format: manifest.JPEG})
		}
	}
	return root, m
}

func TestUpload(t *testing.T) {
	root, m := folder(t, 200)
	p := newPortal(t)
	c := connect(t, p, 5*time.Second)
	var last client.UploadProgress
	set, err := c.Upload(t.Context(), root, m, client.UploadOptions{Name: "my flowers", Progress: func(u client.UploadProgress) { last = u }})
	if err != nil {
		t.Fatal(err)
	}
	if set.State != api.DatasetReady || set.Name != "my flowers" || p.images != 200 || p.packs != 1 {
		t.Errorf("dataset %+v of %d images in %d packs", set, p.images, p.packs)
	}
	if last.Images != 200 || last.KnownImages != 0 || last.SentBytes != last.Bytes || last.Bytes == 0 {
		t.Errorf("progress ends at %+v", last)
	}
	if len(p.blobs) != 180 {
		t.Errorf("%d different images, want 180", len(p.blobs))
	}

	t.Run("again", func(t *testing.T) {
		before := len(p.uploads)
		_, err := c.Upload(t.Context(), root, m, client.UploadOptions{Progress: func(u client.UploadProgress) { last = u }})
		if err != nil || len(p.uploads) != before || last.KnownImages != 200 {
			t.Errorf("%v; %d uploads more; progress %+v", err, len(p.uploads)-before, last)
		}
	})
	t.Run("fewer photos", func(t *testing.T) {
		fewer := *m
		fewer.Images = m.Images[5:]
		_, err := c.Upload(t.Context(), root, &fewer, client.UploadOptions{Progress: func(u client.UploadProgress) { last = u }})
		if err != nil || p.packs != 1 || last.KnownImages != 195 {
			t.Errorf("%v; %d packs; progress %+v", err, p.packs, last)
		}
	})
}

func TestUploadAsksInBatches(t *testing.T) {
	root, m := folder(t, 24_000)
	p := newPortal(t)
	if _, err := connect(t, p, 5*time.Second).Upload(t.Context(), root, m, client.UploadOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(p.questions) != 3 || p.questions[0] != 10_000 || p.questions[2] != 1_600 {
		t.Errorf("questions of %v hashes", p.questions)
	}
}

func TestUploadOfALostPack(t *testing.T) {
	root, m := folder(t, 40)
	p := newPortal(t)
	p.forget = 2
	if _, err := connect(t, p, 5*time.Second).Upload(t.Context(), root, m, client.UploadOptions{}); err != nil || p.packs != 1 {
		t.Errorf("%v; %d packs arrived", err, p.packs)
	}
	p = newPortal(t)
	p.forget = 99
	if _, err := connect(t, p, 5*time.Second).Upload(t.Context(), root, m, client.UploadOptions{}); api.Code(err) != api.CodeUnavailable {
		t.Errorf("a server that loses everything: %v", err)
	}
}

func TestUploadNamesAChangedFile(t *testing.T) {
	for name, change := range map[string]func(string) error{
		"other bytes": func(f string) error { return os.WriteFile(f, []byte("PHOTO daisy3"), 0o600) },
		"shorter":     func(f string) error { return os.WriteFile(f, []byte("photo"), 0o600) },
		"gone":        os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			root, m := folder(t, 40)
			if err := change(filepath.Join(root, "daisy", "00003.jpg")); err != nil {
				t.Fatal(err)
			}
			p := newPortal(t)
			_, err := connect(t, p, 5*time.Second).Upload(t.Context(), root, m, client.UploadOptions{})
			if err == nil || !strings.Contains(err.Error(), "daisy/00003.jpg") || p.packs != 0 {
				t.Errorf("error %v; %d packs", err, p.packs)
			}
			if name != "gone" && !errors.Is(err, pack.ErrChanged) {
				t.Errorf("error %v is not ErrChanged", err)
			}
		})
	}
}

// oracle classifies: it answers each image of a pack with its own text.
type oracle struct {
	t     *testing.T
	story *story
	index pack.Index
	posts int
}

func (o *oracle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/predict") {
		o.story.ServeHTTP(w, r)
		return
	}
	o.posts++
	var err error
	if o.index, err = pack.Verify(r.Body); err != nil {
		o.t.Error(err)
	}
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(api.Task{Id: "t", Kind: "predict", State: api.StateQueued})
}

func TestPredict(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	files := []string{write("a.jpg", "one"), filepath.Join(dir, "absent.jpg"), write("b.jpg", "two"), write("c.jpg", "one"), write("d.jpg", "")}
	o := &oracle{t: t}
	o.story = &story{total: 3, state: api.StateRunning, perConn: func(_ int, _ int64, w *eventWriter) {
		for i, e := range o.index.Entries {
			r := runspec.Record{Seq: int64(i + 1), Type: runspec.TypePrediction, Body: runspec.Prediction{Index: i, SHA256: e.SHA256,
				Top: []runspec.Score{{Label: fmt.Sprint("label ", i), Probability: 0.9}}}}
			b, err := json.Marshal(api.Event{Id: int64(i + 1), Task: "t", Record: r})
			if err != nil {
				t.Error(err)
			}
			fmt.Fprintf(w, "id: %d\ndata: %s\n\n", i+1, b)
		}
		w.send(3, 3)
	}}
	got := make([]runspec.Prediction, len(files))
	for p, err := range connect(t, o, 5*time.Second).Predict(t.Context(), "r", files) {
		if err != nil {
			t.Fatal(err)
		}
		if got[p.Index].SHA256 != "" || got[p.Index].Error != "" {
			t.Errorf("file %d is answered twice", p.Index)
		}
		got[p.Index] = p
	}
	if o.posts != 1 || len(o.index.Entries) != 2 {
		t.Errorf("%d requests, %d images in the last", o.posts, len(o.index.Entries))
	}
	for i, label := range map[int]string{0: "label 0", 2: "label 1", 3: "label 0"} {
		if len(got[i].Top) != 1 || got[i].Top[0].Label != label {
			t.Errorf("%s is %+v, want %s", files[i], got[i], label)
		}
	}
	if got[1].Error == "" || got[4].Error == "" {
		t.Errorf("files that cannot be read: %+v, %+v", got[1], got[4])
	}
}
