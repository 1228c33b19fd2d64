package httpapi_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// operation is the part of the API's document that says what a route wants.
type operation struct {
	OperationID string `yaml:"operationId"`
	Security    *[]any `yaml:"security"`
}

// TestEveryRouteAsksWhoCalls goes through the document: nobody gets in without a name, and nobody reaches what is
// another's, which answers exactly as what does not exist.
func TestEveryRouteAsksWhoCalls(t *testing.T) {
	f := newFixture(t)
	d := f.dataset("alice")
	r := f.run("alice", d)
	f.await("alice", r.Id, api.StateSucceeded)
	upload := f.createUpload("alice", "manifest", d.Id, 10)
	ids := map[string]string{"/datasets/": d.Id, "/runs/": r.Id, "/tasks/": r.Id, "/uploads/": upload[strings.LastIndex(upload, "/")+1:]}
	var doc struct {
		Paths map[string]map[string]yaml.Node `yaml:"paths"`
	}
	if err := yaml.Unmarshal(api.Spec, &doc); err != nil {
		t.Fatal(err)
	}
	n := 0
	for path, operations := range doc.Paths {
		for method, node := range operations {
			var op operation
			if method == "parameters" {
				continue
			}
			if err := node.Decode(&op); err != nil {
				t.Fatal(err)
			}
			n++
			url := "/api/v1" + strings.ReplaceAll(path, "{name}", "model.h5")
			for prefix, id := range ids {
				url = strings.ReplaceAll(url, prefix+"{id}", prefix+id)
			}
			send := func(user string) int {
				resp := f.do(user, strings.ToUpper(method), url, strings.NewReader(`{}`), "Content-Type", contentType(op.OperationID), "Tus-Resumable", "1.0.0", "Upload-Offset", "0")
				return resp.StatusCode
			}
			t.Run(op.OperationID, func(t *testing.T) {
				open := op.Security != nil
				if got := send(""); open != (got == http.StatusOK) || !open && got != http.StatusUnauthorized {
					t.Errorf("anonymous: %d", got)
				}
				if !strings.Contains(path, "{id}") {
					return
				}
				if got := send("mallory"); got != http.StatusNotFound {
					t.Errorf("another user: %d, want 404", got)
				}
			})
		}
	}
	if n < 20 {
		t.Errorf("only %d operations found", n)
	}
	for _, list := range []string{"datasets", "runs"} {
		resp := f.do("mallory", "GET", "/api/v1/"+list, nil)
		if b, _ := io.ReadAll(resp.Body); strings.Contains(string(b), d.Id) || resp.StatusCode != 200 {
			t.Errorf("%s of another user: %s", list, b)
		}
	}
	f.call("alice", "GET", "/api/v1/datasets/"+d.Id, nil, 200, nil) // untouched by all that
	f.call("alice", "GET", "/api/v1/runs/"+r.Id, nil, 200, nil)
}

func contentType(operation string) string {
	if operation == "patchUpload" {
		return "application/offset+octet-stream"
	}
	return "application/json"
}

// described is the description of photos in a plan's order.
func described(images, known, bytes, classes int) string {
	return fmt.Sprintf(`{"digest":%q,"images":%d,"known_images":%d,"bytes":%d,"classes":%d}`, strings.Repeat("0", 64), images, known, bytes, classes)
}

func TestRefusals(t *testing.T) {
	f := newFixture(t)
	ready := f.dataset("alice")
	single := f.dataset("alice", "only")
	m, _ := photos([]string{"x", "y"}, 3)
	receiving := f.createDataset("alice", m)
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		code                     api.ErrorCode
		message, field           string
	}{
		{"dataset: bad digest", "POST", "/datasets", `{"name":"x","digest":"ABC","images":1,"bytes":1}`, 400, "invalid", "", "digest"},
		{"dataset: no name", "POST", "/datasets", `{"name":" ","digest":"` + strings.Repeat("0", 64) + `","images":1,"bytes":1}`, 400, "invalid", "", "name"},
		{"dataset: one image too many", "POST", "/datasets", `{"name":"x","digest":"` + strings.Repeat("0", 64) + `","images":500001,"bytes":1}`, 400, "invalid", "", "images"},
		{"dataset: not JSON", "POST", "/datasets", `{`, 400, "invalid", "cannot be understood", ""},
		{"dataset: too large a body", "POST", "/datasets", `{"name":"` + strings.Repeat("x", 2<<20) + `"}`, 413, "too_large", "1048576", ""},
		{"dataset: unknown", "GET", "/datasets/none", "", 404, "not_found", "", ""},
		{"list: bad cursor", "GET", "/runs?cursor=!", "", 400, "invalid", "cursor", ""},
		{"list: bad limit", "GET", "/runs?limit=201", "", 400, "invalid", "200", ""},
		{"list: limit no number", "GET", "/runs?limit=many", "", 400, "invalid", "limit", ""},
		{"run: no dataset", "POST", "/runs", `{"dataset":"none"}`, 404, "not_found", "none", ""},
		{"run: dataset not ready", "POST", "/runs", `{"dataset":"` + receiving.Id + `"}`, 409, "conflict", "has not arrived", ""},
		{"run: one class", "POST", "/runs", `{"dataset":"` + single.Id + `"}`, 400, "invalid", "has 1 class", ""},
		{"run: epochs out of range", "POST", "/runs", `{"dataset":"` + ready.Id + `","recipe":{"epochs":-1}}`, 400, "invalid", "epochs", "recipe.epochs"},
		{"run: unknown hyperparameter", "POST", "/runs", `{"dataset":"` + ready.Id + `","recipe":{"epoch":1}}`, 400, "invalid", "epoch", ""},
		{"run: unknown base", "POST", "/runs", `{"dataset":"` + ready.Id + `","recipe":{"base":"huge"}}`, 400, "invalid", "tiny", "recipe.base"},
		{"plan: of nothing", "POST", "/runs/plan", `{}`, 400, "invalid", "either", ""},
		{"plan: of both", "POST", "/runs/plan", `{"dataset":"` + ready.Id + `","photos":` + described(1, 1, 1, 2) + `}`, 400, "invalid", "either", ""},
		{"plan: no dataset", "POST", "/runs/plan", `{"dataset":"none"}`, 404, "not_found", "none", ""},
		{"plan: dataset not ready", "POST", "/runs/plan", `{"dataset":"` + receiving.Id + `"}`, 409, "conflict", "has not arrived", ""},
		{"plan: no digest", "POST", "/runs/plan", `{"photos":{"digest":"x","images":1,"known_images":1,"bytes":1,"classes":2}}`, 400, "invalid", "", "photos.digest"},
		{"plan: no images", "POST", "/runs/plan", `{"photos":` + described(0, 0, 1, 2) + `}`, 400, "invalid", "", "photos.images"},
		{"plan: more known than there are", "POST", "/runs/plan", `{"photos":` + described(1, 2, 1, 2) + `}`, 400, "invalid", "", "photos.known_images"},
		{"plan: no bytes", "POST", "/runs/plan", `{"photos":` + described(1, 1, 0, 2) + `}`, 400, "invalid", "", "photos.bytes"},
		{"plan: one class", "POST", "/runs/plan", `{"photos":` + described(1, 1, 1, 1) + `}`, 400, "invalid", "", "photos.classes"},
		{"plan: views out of range", "POST", "/runs/plan", `{"dataset":"` + ready.Id + `","recipe":{"views":0}}`, 400, "invalid", "views", "recipe.views"},
		{"plan: unknown base", "POST", "/runs/plan", `{"dataset":"` + ready.Id + `","recipe":{"base":"huge"}}`, 400, "invalid", "tiny", "recipe.base"},
		{"plan: unknown machine size", "POST", "/runs/plan", `{"dataset":"` + ready.Id + `","profile":"huge"}`, 400, "invalid", "huge", "profile"},
		{"run: unknown", "POST", "/runs/none/stop", "", 404, "not_found", "", ""},
		{"missing: half a hash", "POST", "/blobs/missing", "12345", 400, "invalid", "5 bytes", ""},
		{"missing: too many", "POST", "/blobs/missing", strings.Repeat("x", 32*10_000+1), 413, "too_large", "", ""},
		{"stream: bad id", "GET", "/tasks/none/events", "", 404, "not_found", "", ""},
		{"nothing there", "GET", "/nothing", "", 404, "not_found", "openapi.json", ""},
		{"method", "PUT", "/runs", "", 405, "invalid", "PUT", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e api.Error
			f.decode(f.do("alice", c.method, "/api/v1"+c.path, strings.NewReader(c.body), "Content-Type", "application/json"), c.status, &e)
			if e.Code != c.code || !strings.Contains(e.Message, c.message) || e.RequestId == nil {
				t.Errorf("got %+v", e)
			}
			if c.field != "" && (e.Fields == nil || (*e.Fields)[c.field] == "") {
				t.Errorf("fields: %v, want %s", e.Fields, c.field)
			}
		})
	}
}

func TestRunsLife(t *testing.T) {
	f := newFixture(t)
	release := make(chan struct{})
	f.script = func(tr *trainer) runner.Exit {
		select {
		case <-release:
		case <-tr.ctx.Done():
		}
		return quick(tr)
	}
	d := f.dataset("alice")
	first := f.run("alice", d)
	f.await("alice", first.Id, api.StateRunning)
	second, third := f.run("alice", d), f.run("alice", d)
	other := f.run("bob", f.dataset("bob"))
	if first.Number != 1 || third.Number != 3 || other.Number != 1 {
		t.Errorf("numbers: %d, %d, %d", first.Number, third.Number, other.Number)
	}
	for user, want := range map[string]map[string]int{"alice": {second.Id: 2, third.Id: 3}, "bob": {other.Id: 1}} {
		for id, position := range want {
			if r := f.await(user, id, api.StateQueued); r.QueuePosition == nil || *r.QueuePosition != position {
				t.Errorf("%s's run has queue position %v, want %d", user, r.QueuePosition, position)
			}
		}
	}
	f.call("alice", "DELETE", "/api/v1/runs/"+first.Id, nil, 409, nil)
	f.call("alice", "DELETE", "/api/v1/datasets/"+d.Id, nil, 409, nil)
	f.call("alice", "POST", "/api/v1/runs/"+first.Id+"/retry", nil, 409, nil)
	var r api.Run
	f.call("alice", "POST", "/api/v1/runs/"+second.Id+"/cancel", nil, 200, &r)
	if r.State != api.StateCancelled || r.Ended == nil {
		t.Errorf("a queued run cancelled: %+v", r)
	}
	f.call("alice", "POST", "/api/v1/runs/"+third.Id+"/stop", nil, 200, &r)
	if r.State != api.StateCancelled || r.Reason == nil || !strings.Contains(*r.Reason, "before it began") {
		t.Errorf("a queued run stopped: %+v", r)
	}
	close(release)
	f.await("alice", first.Id, api.StateSucceeded)
	f.await("bob", other.Id, api.StateSucceeded)
	var e api.Error
	f.call("alice", "POST", "/api/v1/runs/"+first.Id+"/cancel", nil, 409, &e)
	if !strings.Contains(e.Message, "succeeded") {
		t.Errorf("cancel of an ended run: %s", e.Message)
	}
	f.call("alice", "POST", "/api/v1/runs/"+first.Id+"/retry", nil, 201, &r)
	if r.RetryOf == nil || *r.RetryOf != first.Id || r.Number != 4 {
		t.Errorf("retry: %+v", r)
	}
	f.await("alice", r.Id, api.StateSucceeded)
	f.pages(t)
	for _, id := range []string{first.Id, second.Id, third.Id, r.Id} {
		f.call("alice", "DELETE", "/api/v1/runs/"+id, nil, 204, nil)
		f.call("alice", "GET", "/api/v1/runs/"+id, nil, 404, nil)
	}
	f.call("alice", "DELETE", "/api/v1/datasets/"+d.Id, nil, 204, nil)
	for _, pattern := range []string{"tasks/*", "datasets/*", "packs/*/*"} {
		if left, _ := filepath.Glob(filepath.Join(f.dir, "volume", runspec.UserDir("alice"), pattern)); len(left) > 0 {
			t.Errorf("left on disk: %v", left)
		}
	}
	if kept, _ := filepath.Glob(filepath.Join(f.dir, "volume", runspec.UserDir("bob"), "packs/*/*")); len(kept) != 1 {
		t.Errorf("bob's packs: %v", kept)
	}
}

// pages reads alice's four runs two at a time.
func (f *fixture) pages(t *testing.T) {
	t.Helper()
	var numbers []string
	cursor := ""
	for range 3 {
		var p api.RunPage
		f.call("alice", "GET", "/api/v1/runs?limit=2&cursor="+cursor, nil, 200, &p)
		for _, r := range p.Runs {
			numbers = append(numbers, fmt.Sprint(r.Number))
		}
		if p.Next == nil {
			break
		}
		cursor = *p.Next
	}
	if got := strings.Join(numbers, " "); got != "4 3 2 1" {
		t.Errorf("pages: %s", got)
	}
}

func TestArtifacts(t *testing.T) {
	f := newFixture(t)
	r := f.run("alice", f.dataset("alice"))
	f.await("alice", r.Id, api.StateSucceeded)
	var list api.ArtifactList
	f.call("alice", "GET", "/api/v1/runs/"+r.Id+"/artifacts", nil, 200, &list)
	if len(list.Artifacts) != 1 {
		t.Fatalf("%+v", list)
	}
	etag := `"` + list.Artifacts[0].SHA256 + `"`
	const whole = "a model of some bytes"
	url := "/api/v1/runs/" + r.Id + "/artifacts/model.h5"
	for _, c := range []struct {
		name, path string
		headers    []string
		status     int
		body       string
	}{
		{"whole", url, nil, 200, whole},
		{"part", url, []string{"Range", "bytes=2-6"}, 206, "model"},
		{"the rest, same file", url, []string{"Range", "bytes=16-", "If-Range", etag}, 206, "bytes"},
		{"the rest, another file", url, []string{"Range", "bytes=16-", "If-Range", `"other"`}, 200, whole},
		{"beyond the end", url, []string{"Range", "bytes=99-"}, 416, ""},
		{"unchanged", url, []string{"If-None-Match", etag}, 304, ""},
		{"no such file", "/api/v1/runs/" + r.Id + "/artifacts/other.h5", nil, 404, ""},
		{"climbing out", "/api/v1/runs/" + r.Id + "/artifacts/..%2F..%2Fspec.json", nil, 404, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp := f.do("alice", "GET", c.path, nil, c.headers...)
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != c.status || c.body != "" && string(b) != c.body {
				t.Errorf("%s: %q, %v", resp.Status, b, err)
			}
			if resp.StatusCode < 300 && (resp.Header.Get("ETag") != etag || !strings.HasPrefix(resp.Header.Get("Content-Disposition"), "attachment")) {
				t.Errorf("headers: %v", resp.Header)
			}
		})
	}
}

func TestPredict(t *testing.T) {
	f := newFixture(t)
	r := f.run("alice", f.dataset("alice"))
	f.await("alice", r.Id, api.StateSucceeded)
	m, blobs := photos([]string{"z"}, 3)
	body := packOf(t, m, blobs)
	var e api.Error
	f.decode(f.do("alice", "POST", "/api/v1/runs/"+r.Id+"/predict", bytes.NewReader(body[:len(body)-1])), 400, &e)
	if !strings.Contains(e.Message, "pack") {
		t.Errorf("a cut pack: %s", e.Message)
	}
	seen := make(chan runspec.Spec, 1)
	f.script = func(tr *trainer) runner.Exit {
		if b, err := os.ReadFile(tr.spec.Inputs); err != nil || !bytes.Equal(b, body) {
			t.Errorf("inputs: %v", err)
		}
		if _, err := os.Stat(tr.spec.Model); err != nil {
			t.Error(err)
		}
		tr.post("register", executor, []byte(`{"executor":"`+executor+`","version":"v1.2.3"}`))
		select {
		case seen <- tr.spec:
		default:
		}
		return tr.finish()
	}
	var task api.Task
	f.decode(f.do("alice", "POST", "/api/v1/runs/"+r.Id+"/predict", bytes.NewReader(body)), 202, &task)
	spec := <-seen
	if spec.Kind != runspec.Predict || spec.Task != task.Id || strings.Join(spec.Dataset.Classes, " ") != "a b" {
		t.Errorf("spec: %+v", spec)
	}
	eventually(t, "the prediction ended", func() bool {
		f.call("alice", "GET", "/api/v1/tasks/"+task.Id, nil, 200, &task)
		return task.State == api.StateSucceeded
	})
	eventually(t, "the images are gone", func() bool { _, err := os.Stat(spec.Inputs); return os.IsNotExist(err) })
	f.call("alice", "GET", "/api/v1/runs/"+task.Id, nil, 404, nil) // a prediction is no run
}

func TestOpenRoutes(t *testing.T) {
	f := newFixture(t)
	var v api.Version
	f.call("", "GET", "/api/v1/version", nil, 200, &v)
	if v.SpecVersion != runspec.Version {
		t.Errorf("version: %+v", v)
	}
	var doc struct{ Openapi string }
	f.call("", "GET", "/api/v1/openapi.json", nil, 200, &doc)
	if doc.Openapi != "3.0.3" {
		t.Errorf("document: %+v", doc)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		f.decode(f.do("", "GET", path, nil), 200, nil)
	}
	var b api.BaseList
	f.call("alice", "GET", "/api/v1/bases", nil, 200, &b)
	if len(b.Bases) != 1 || b.Bases[0].Name != "tiny" || b.Bases[0].Bytes != 4 || b.Bases[0].MsPerImage != nil {
		t.Errorf("bases: %+v", b)
	}
}

// TestBasesSayHowFast reads what was measured beside the bases, and does without what cannot be read.
func TestBasesSayHowFast(t *testing.T) {
	f := newFixture(t)
	speeds := filepath.Join(f.dir, "bases", runspec.SpeedsFile)
	for name, c := range map[string]struct {
		content string
		want    float64
	}{
		"measured": {`[{"base":"tiny","ms_per_image":2.5,"machine":"Abacus, 2 cores"},{"base":"other","ms_per_image":1}]`, 2.5},
		"nothing":  {`[{"base":"tiny","ms_per_image":0}]`, 0},
		"damaged":  {`[{`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(speeds, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			var b api.BaseList
			f.call("alice", "GET", "/api/v1/bases", nil, 200, &b)
			tiny := b.Bases[0]
			if c.want == 0 && (tiny.MsPerImage != nil || tiny.MeasuredOn != nil) {
				t.Errorf("%v on %v", *tiny.MsPerImage, tiny.MeasuredOn)
			}
			if c.want > 0 && (tiny.MsPerImage == nil || *tiny.MsPerImage != c.want || *tiny.MeasuredOn != "Abacus, 2 cores") {
				t.Errorf("%+v", tiny)
			}
		})
	}
	if !strings.Contains(f.log.String(), "bases measure") {
		t.Error("the log does not tell of the damaged file")
	}
}

func TestWebPagesAreNotAnswered(t *testing.T) {
	f := newFixture(t)
	for _, headers := range [][]string{{"Origin", "http://evil.example"}, {"Cookie", "a=b"}} {
		f.decode(f.do("alice", "GET", "/api/v1/runs", nil, headers...), 403, nil)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", f.api.URL+"/api/v1/version", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "rebound.example:80"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	f.decode(resp, 403, nil)
}

func TestUnknownErrorsStayInTheLog(t *testing.T) {
	f := newFixture(t)
	bases := filepath.Join(f.dir, "bases", "bases.json")
	if err := os.WriteFile(bases, []byte("canary{"), 0o600); err != nil {
		t.Fatal(err)
	}
	var e api.Error
	f.call("alice", "GET", "/api/v1/bases", nil, 500, &e)
	if e.Code != api.CodeInternal || !strings.Contains(e.Message, *e.RequestId) || strings.Contains(e.Message, "canary") || strings.Contains(e.Message, "base models") {
		t.Errorf("answer: %+v", e)
	}
	if n := strings.Count(f.log.String(), *e.RequestId); n != 1 {
		t.Errorf("the log has the request id %d times:\n%s", n, f.log.String())
	}
}

func TestMissingBlobsAnswersForTheUserOnly(t *testing.T) {
	f := newFixture(t)
	f.dataset("alice")
	m, _ := photos([]string{"a", "b", "new"}, 5)
	var hashes []byte
	for _, im := range m.Images {
		sum, err := hex.DecodeString(im.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, sum...)
	}
	for user, want := range map[string][]byte{"alice": {0x00, 0x7c}, "bob": {0xff, 0x7f}} {
		resp := f.do(user, "POST", "/api/v1/blobs/missing", bytes.NewReader(hashes))
		if b, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(b, want) {
			t.Errorf("%s misses %08b, want %08b (%v)", user, b, want, err)
		}
	}
	var d api.Dataset // the digest of one user is new to another
	f.call("bob", "POST", "/api/v1/datasets", api.DatasetCreate{Name: "x", Digest: manifest.Digest(m.Images[:10]), Images: 10, Bytes: 1}, 201, &d)
	f.call("alice", "POST", "/api/v1/datasets", api.DatasetCreate{Name: "x", Digest: manifest.Digest(m.Images[:10]), Images: 10, Bytes: 1}, 200, &d)
}
