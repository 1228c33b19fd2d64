package httpapi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/httpapi"
	"github.com/cultivar-ml/cultivar/server/internal/ingest"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/server/internal/runner/runnertest"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/server/internal/tasks"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/pack"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// fixture is a whole server on a fresh data folder, with a scripted runner in place of processes.
type fixture struct {
	scaleOut tasks.ScaleOut
	quota    int64 // bytes of photos a user may have; 0: any
	features int64 // bytes of features that are kept; 0: all
	proxies  []netip.Prefix
	refuse   error        // what everybody is told instead of being let in
	seen     atomic.Value // netip.Addr of the last caller that was asked for its name
	t        *testing.T
	dir      string
	now      *clock
	free     uint64 // of 1000 bytes of disk
	script   func(*trainer) runner.Exit
	store    *store.Store
	ingest   *ingest.Service
	tasks    *tasks.Service
	fake     *runnertest.Fake
	api      *httptest.Server
	callback *httptest.Server
	log      *syncBuffer
	close    func()
}

// clock is the present, moved by tests.
type clock struct {
	mu   sync.Mutex
	skew time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.skew)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skew += d
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir(), now: &clock{}, free: 1000, log: &syncBuffer{}, script: quick}
	bases := filepath.Join(f.dir, "bases")
	if err := os.Mkdir(bases, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bases, "bases.json"), []byte(`[{"name":"tiny","title":"Tiny","size":32,"params":1,"macs":1,"feature_dim":1,"source":"x"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	f.fake = runnertest.NewFake(func(ctx context.Context, job runner.Job) runner.Exit {
		return f.script(openTrainer(ctx, job))
	}, map[runspec.Kind]int{runspec.Train: 1, runspec.Predict: 1})
	f.start()
	t.Cleanup(func() {
		f.close()
		f.fake.Close()
	})
	return f
}

// start opens everything on the data folder; the runner, like real processes, is older than the server.
func (f *fixture) start() {
	f.t.Helper()
	log := slog.New(slog.NewJSONHandler(f.log, nil))
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	if f.store, err = store.Open(ctx, filepath.Join(f.dir, "test.db"), f.now.now); err != nil {
		f.t.Fatal(err)
	}
	volume, err := files.OpenVolume(filepath.Join(f.dir, "volume"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.ingest = ingest.New(ingest.Options{Store: f.store, Volume: volume, Now: f.now.now, Unpack: []string{os.Args[0], asUnpacker}, Quota: f.quota,
		Free: func() (uint64, uint64, error) { return f.free << 30, 1000 << 30, nil }})
	callback := httptest.NewUnstartedServer(nil)
	f.tasks = tasks.New(tasks.Options{Store: f.store, Volume: volume, Runner: f.fake, Bases: filepath.Join(f.dir, "bases"),
		Callback: "http://" + callback.Listener.Addr().String(), Log: log, Now: f.now.now, Tick: 20 * time.Millisecond, ScaleOut: f.scaleOut, Features: f.features})
	s, err := httpapi.New(httpapi.Options{Store: f.store, Ingest: f.ingest, Tasks: f.tasks, Authenticate: f.authenticate, Proxies: f.proxies, Log: log, Now: f.now.now,
		Hosts: []string{"127.0.0.1"}, Heartbeat: 30 * time.Millisecond})
	if err != nil {
		f.t.Fatal(err)
	}
	callback.Config.Handler = s.Callback()
	callback.Start()
	f.callback, f.api = callback, httptest.NewServer(s)
	var supervisor sync.WaitGroup
	supervisor.Go(func() { f.tasks.Run(ctx) })
	f.close = func() {
		s.Close()
		f.api.Close()
		f.callback.Close()
		cancel()
		supervisor.Wait()
		if err := f.store.Close(); err != nil {
			f.t.Error(err)
		}
	}
}

func (f *fixture) restart() {
	f.t.Helper()
	f.close()
	f.start()
}

// authenticate takes "Bearer NAME" for the user NAME, who may do everything, and "Bearer NAME+SCOPE" for one who may not.
func (f *fixture) authenticate(r *http.Request) (auth.Principal, error) {
	f.seen.Store(auth.Client(r))
	if f.refuse != nil {
		return auth.Principal{}, f.refuse
	}
	name, scope, _ := strings.Cut(auth.Bearer(r), "+")
	switch {
	case name == "":
		return auth.Principal{}, api.Errorf(api.CodeUnauthorized, "Say who you are.")
	case scope == "":
		return auth.Principal{User: name, Scopes: auth.Everything}, nil
	}
	only, err := auth.ParseScopes(scope)
	return auth.Principal{User: name, Scopes: only}, err
}

func (f *fixture) do(user, method, path string, body io.Reader, headers ...string) *http.Response {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.api.URL+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	if user != "" {
		req.Header.Set("Authorization", "Bearer "+user)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// call makes a JSON request and decodes the answer of the wanted status into out.
func (f *fixture) call(user, method, path string, in any, want int, out any) {
	f.t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			f.t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	f.decode(f.do(user, method, path, body, "Content-Type", "application/json"), want, out)
}

func (f *fixture) decode(resp *http.Response, want int, out any) {
	f.t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	if resp.StatusCode != want {
		f.t.Fatalf("%s %s: %s, want %d\n%s", resp.Request.Method, resp.Request.URL.Path, resp.Status, want, b)
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			f.t.Fatalf("%s %s: %v\n%s", resp.Request.Method, resp.Request.URL.Path, err, b)
		}
	}
}

// photos is a manifest of n images in each class with their bytes.
func photos(classes []string, n int) (*manifest.Manifest, map[string][]byte) {
	m := &manifest.Manifest{Name: "things", Classes: classes}
	blobs := map[string][]byte{}
	for _, class := range classes {
		for i := range n {
			name := fmt.Sprintf("%s/%03d.jpg", class, i)
			content := bytes.Repeat([]byte(name), 50)
			sum := sha256.Sum256(content)
			hash := hex.EncodeToString(sum[:])
			blobs[hash] = content
			m.Images = append(m.Images, manifest.Image{Class: class, Path: name, SHA256: hash, Size: int64(len(content)), Width: 64, Height: 64, Format: manifest.JPEG})
		}
	}
	return m, blobs
}

func packOf(t *testing.T, m *manifest.Manifest, blobs map[string][]byte) []byte {
	t.Helper()
	var sources []pack.Source
	for _, im := range m.Images {
		sources = append(sources, pack.Source{Path: im.Path, SHA256: im.SHA256, Size: im.Size, Open: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(blobs[im.SHA256])), nil
		}})
	}
	p, err := pack.New(sources)
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func manifestBytes(t *testing.T, m *manifest.Manifest) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := manifest.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (f *fixture) createDataset(user string, m *manifest.Manifest) api.Dataset {
	f.t.Helper()
	var d api.Dataset
	f.call(user, "POST", "/api/v1/datasets", api.DatasetCreate{Name: "things", Digest: manifest.Digest(m.Images), Images: len(m.Images), Bytes: 1}, 201, &d)
	return d
}

// createUpload begins a tus upload and returns its path.
func (f *fixture) createUpload(user, kind, dataset string, size int) string {
	f.t.Helper()
	resp := f.do(user, "POST", "/api/v1/uploads", nil, tusHeaders(kind, dataset, size)...)
	f.decode(resp, 201, nil)
	_, path, ok := strings.Cut(resp.Header.Get("Location"), "/api/v1/")
	if !ok || resp.Header.Get("Upload-Expires") == "" {
		f.t.Fatalf("created: %v", resp.Header)
	}
	return "/api/v1/" + path
}

func tusHeaders(kind, dataset string, size int) []string {
	meta := "kind " + base64.StdEncoding.EncodeToString([]byte(kind))
	if dataset != "" {
		meta += ",dataset " + base64.StdEncoding.EncodeToString([]byte(dataset))
	}
	return []string{"Tus-Resumable", "1.0.0", "Upload-Length", strconv.Itoa(size), "Upload-Metadata", meta}
}

func checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256 " + base64.StdEncoding.EncodeToString(sum[:])
}

func (f *fixture) patch(user, path string, offset int, chunk []byte, sum string) *http.Response {
	f.t.Helper()
	headers := []string{"Tus-Resumable", "1.0.0", "Upload-Offset", strconv.Itoa(offset), "Content-Type", "application/offset+octet-stream"}
	if sum != "" {
		headers = append(headers, "Upload-Checksum", sum)
	}
	return f.do(user, "PATCH", path, bytes.NewReader(chunk), headers...)
}

func (f *fixture) offset(user, path string) string {
	f.t.Helper()
	resp := f.do(user, "HEAD", path, nil, "Tus-Resumable", "1.0.0")
	f.decode(resp, 200, nil)
	return resp.Header.Get("Upload-Offset")
}

func (f *fixture) upload(user, kind, dataset string, content []byte, want int) {
	f.t.Helper()
	f.decode(f.patch(user, f.createUpload(user, kind, dataset, len(content)), 0, content, checksum(content)), want, nil)
}

// dataset makes a ready dataset of the user.
func (f *fixture) dataset(user string, classes ...string) api.Dataset {
	f.t.Helper()
	if len(classes) == 0 {
		classes = []string{"a", "b"}
	}
	m, blobs := photos(classes, 5)
	d := f.createDataset(user, m)
	f.upload(user, "pack", "", packOf(f.t, m, blobs), 204)
	f.upload(user, "manifest", d.Id, manifestBytes(f.t, m), 204)
	f.call(user, "GET", "/api/v1/datasets/"+d.Id, nil, 200, &d)
	if d.State != api.DatasetReady {
		f.t.Fatalf("dataset: %+v", d)
	}
	return d
}

func (f *fixture) run(user string, d api.Dataset) api.Run {
	f.t.Helper()
	var r api.Run
	f.call(user, "POST", "/api/v1/runs", api.RunCreate{Dataset: d.Id}, 201, &r)
	return r
}

func (f *fixture) await(user, run string, want api.State) api.Run {
	f.t.Helper()
	var r api.Run
	eventually(f.t, fmt.Sprintf("the run is %s", want), func() bool {
		r = api.Run{} // what an answer leaves out must not stay from the one before
		f.call(user, "GET", "/api/v1/runs/"+run, nil, 200, &r)
		return r.State == want
	})
	return r
}

// awaitBegun waits until a run has been given to the runner, whatever the trainer says of it by then.
func (f *fixture) awaitBegun(user, run string) {
	f.t.Helper()
	eventually(f.t, "the run begins", func() bool {
		var r api.Run
		f.call(user, "GET", "/api/v1/runs/"+run, nil, 200, &r)
		return r.State == api.StateStarting || r.State == api.StateRunning
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never happened: %s", what)
		}
	}
}

// trainer is a script's view of its attempt.
type trainer struct {
	ctx    context.Context
	spec   runspec.Spec
	mounts []runner.Mount
	dir    string
	err    error
}

const executor = "p1-1"

func openTrainer(ctx context.Context, job runner.Job) *trainer {
	t := &trainer{ctx: ctx, mounts: job.Mounts}
	b, err := os.ReadFile(job.Spec)
	if err == nil {
		t.spec, err = runspec.ParseSpec(b)
	}
	t.dir = filepath.Join(t.spec.Paths.Attempt, executor)
	t.err = errors.Join(err, os.MkdirAll(filepath.Join(t.dir, runspec.ArtifactsDir), 0o700))
	return t
}

// post sends a body to the callback and returns the answer's status.
func (t *trainer) post(what, as string, body []byte) (int, tasks.Ack) {
	token, err := os.ReadFile(t.spec.Callback.TokenFile)
	if err != nil {
		return 0, tasks.Ack{}
	}
	return post(t.ctx, t.spec.Callback.URL+"/"+what, string(token), as, body)
}

func post(ctx context.Context, url, token, as string, body []byte) (int, tasks.Ack) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, tasks.Ack{}
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Cultivar-Executor", as)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, tasks.Ack{}
	}
	defer func() { _ = resp.Body.Close() }()
	var ack tasks.Ack
	_ = json.NewDecoder(resp.Body).Decode(&ack)
	return resp.StatusCode, ack
}

func epoch(seq int64, n int) []byte {
	b, err := json.Marshal(runspec.Record{Seq: seq, Time: time.Now(), Type: runspec.TypeEpoch, Body: runspec.Epoch{Phase: "head", Epoch: n, ValAccuracy: 0.5}})
	if err != nil {
		panic(err) // a struct of ours
	}
	return append(b, '\n')
}

// finish writes an artifact and the result.
func (t *trainer) finish() runner.Exit {
	content := []byte("a model of some bytes")
	sum := sha256.Sum256(content)
	a := runspec.Artifact{Name: "model.h5", Format: "h5", Bytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
	err := os.WriteFile(filepath.Join(t.dir, runspec.ArtifactsDir, a.Name), content, 0o600)
	b, e := json.Marshal(runspec.Finish{Version: runspec.Version, Executor: executor, Result: runspec.Result{State: "succeeded"}, Artifacts: []runspec.Artifact{a}})
	if errors.Join(t.err, err, e, os.WriteFile(filepath.Join(t.dir, runspec.ResultFile), b, 0o600)) != nil {
		return runner.Exit{Code: 1}
	}
	return runner.Exit{}
}

// quick is a training of three epochs.
func quick(t *trainer) runner.Exit {
	t.post("register", executor, []byte(`{"executor":"`+executor+`","version":1}`))
	for n := 1; n <= 3; n++ {
		t.post("records", executor, epoch(int64(n), n))
	}
	return t.finish()
}
