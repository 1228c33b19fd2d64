package app

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// modelFile stands for a model's bytes.
const modelFile = "the bytes of a model"

// noon is when everything happens.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// double answers like a server with what a test gives it; the real client talks to it.
type double struct {
	runs   []api.Run
	events []api.Event
	report string
	broken atomic.Bool // every answer is that the server is not ready
	signed atomic.Bool // every answer is that the token has ended
	posts  chan string

	plan    func(api.PlanCreate) []runspec.Plan // what is answered to a plan asked for; nil: foretold
	planned chan api.PlanCreate

	abilities  api.Abilities
	deliveries atomic.Pointer[[]api.Delivery]
	asked      atomic.Int32 // for deliveries
	shared     chan api.ShareCreate
	created    chan api.RunCreate
	cut        chan struct{} // a stream ends when it is sent to
}

// delivers sets what the server says of deliveries from now on.
func (d *double) delivers(all ...api.Delivery) { d.deliveries.Store(&all) }

func (d *double) delivered() api.DeliveryList {
	if all := d.deliveries.Load(); all != nil {
		return api.DeliveryList{Deliveries: *all}
	}
	return api.DeliveryList{Deliveries: []api.Delivery{}}
}

func decode[T any](r *http.Request, to chan T) {
	var v T
	_ = json.NewDecoder(r.Body).Decode(&v)
	to <- v
}

func ptr[T any](v T) *T { return &v }

func (d *double) start(t *testing.T) string {
	t.Helper()
	d.cut, d.planned = make(chan struct{}), make(chan api.PlanCreate, 64)
	d.posts, d.shared, d.created = make(chan string, 16), make(chan api.ShareCreate, 16), make(chan api.RunCreate, 16)
	mux := http.NewServeMux()
	answer := func(pattern string, f func(r *http.Request) any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if r.Method == http.MethodPost {
				d.posts <- r.URL.Path
			}
			v := f(r)
			switch {
			case d.broken.Load():
				w.WriteHeader(http.StatusServiceUnavailable)
				v = api.Error{Code: api.CodeUnavailable, Message: "The database is being repaired. Try again in a minute."}
			case d.signed.Load():
				w.WriteHeader(http.StatusUnauthorized)
				v = api.Error{Code: api.CodeUnauthorized, Message: "Your token has ended."}
			}
			_ = json.NewEncoder(w).Encode(v)
		})
	}
	set := api.Dataset{Id: "d1", Name: "flowers", State: api.DatasetReady, Images: 26, Classes: []api.ClassCount{{Name: "daisy", Images: 6}, {Name: "rose", Images: 8}, {Name: "tulip", Images: 12}}}
	answer("GET /api/v1/bases", func(*http.Request) any {
		return api.BaseList{Bases: []api.Base{
			{Name: "efficientnet_lite0", Title: "EfficientNet-Lite0", Size: 224, Params: 3_400_000, Bytes: 13_600_000, Macs: 383_000_000, ImagenetTop1: ptr(float32(75.1)), License: ptr("Apache-2.0"),
				MsPerImage: ptr(4.1), MeasuredOn: ptr("Intel Xeon, 2 cores")},
			{Name: "mobilenet_v2", Title: "MobileNetV2", Size: 224, Params: 2_250_000, Bytes: 9_000_000, Macs: 300_000_000, ImagenetTop1: ptr(float32(71.3)), Unverified: ptr(true)},
		}}
	})
	answer("POST /api/v1/datasets", func(*http.Request) any { return set })
	answer("GET /api/v1/datasets/{id}", func(*http.Request) any { return set })
	answer("GET /api/v1/runs", func(*http.Request) any { return api.RunPage{Runs: d.runs} })
	answer("POST /api/v1/runs/plan", func(r *http.Request) any {
		decode(r, d.planned)
		return api.Task{Id: "p1", Kind: api.Plan, State: api.StateRunning}
	})
	answer("POST /api/v1/runs", func(r *http.Request) any { decode(r, d.created); return d.runs[0] })
	answer("GET /api/v1/abilities", func(*http.Request) any { return d.abilities })
	answer("GET /api/v1/runs/{id}/deliveries", func(*http.Request) any { d.asked.Add(1); return d.delivered() })
	answer("POST /api/v1/runs/{id}/share", func(r *http.Request) any { decode(r, d.shared); return d.delivered() })
	answer("POST /api/v1/runs/{id}/deliveries/{delivery}/retry", func(*http.Request) any { return d.delivered().Deliveries[0] })
	answer("GET /api/v1/runs/{id}", func(r *http.Request) any { return d.run(r.PathValue("id")) })
	answer("POST /api/v1/runs/{id}/{verb}", func(r *http.Request) any { return d.run(r.PathValue("id")) })
	answer("GET /api/v1/tasks/{id}", func(r *http.Request) any {
		return api.Task{Id: r.PathValue("id"), State: api.StateRunning, LastEvent: int64(len(d.events))}
	})
	answer("GET /api/v1/runs/{id}/artifacts", func(*http.Request) any {
		return api.ArtifactList{Artifacts: []api.Artifact{
			{Name: "evaluation.json", Format: "evaluation", Bytes: int64(len(d.report))},
			{Name: "labels.txt", Format: "labels", Bytes: 17},
			{Name: "report.html", Format: "report", Bytes: 215_048},
			{Name: "model-card.md", Format: "card", Bytes: 3_715},
			{Name: "usage.md", Format: "usage", Bytes: 1_232},
			{Name: "model.h5", Format: "h5", Bytes: int64(len(modelFile)), SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(modelFile))), Accuracy: ptr(runspec.Float(0.9)), Agreement: ptr(runspec.Float(1)), MsPerImage: ptr(runspec.Float(6.7))},
		}}
	})
	mux.HandleFunc("POST /api/v1/blobs/missing", func(w http.ResponseWriter, r *http.Request) { // none is
		hashes, _ := io.ReadAll(r.Body)
		_, _ = w.Write(make([]byte, (len(hashes)/sha256.Size+7)/8))
	})
	mux.HandleFunc("GET /api/v1/runs/{id}/artifacts/evaluation.json", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(d.report)) })
	mux.HandleFunc("GET /api/v1/runs/{id}/artifacts/model.h5", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", noon, strings.NewReader(modelFile))
	})
	mux.HandleFunc("GET /api/v1/tasks/{id}/events", d.stream)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	return s.URL
}

func (d *double) run(id string) any {
	for _, r := range d.runs {
		if r.Id == id {
			return r
		}
	}
	return api.Error{Code: api.CodeNotFound, Message: "There is no such run."}
}

// stream sends what there is and keeps the connection open.
func (d *double) stream(w http.ResponseWriter, r *http.Request) {
	if d.signed.Load() {
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(api.Error{Code: api.CodeUnauthorized, Message: "Your token has ended."})
		return
	}
	if d.broken.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	events := d.events
	if r.PathValue("id") == "p1" {
		events = d.plans()
	}
	after, _ := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	for _, e := range events {
		if e.Id <= after {
			continue
		}
		b, _ := json.Marshal(e)
		_, _ = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", e.Id, b)
	}
	w.(http.Flusher).Flush()
	select {
	case <-r.Context().Done():
	case <-d.cut:
	}
}

// plans answers the plan that was asked for last.
func (d *double) plans() []api.Event {
	asked := <-d.planned
	answer := foretold
	if d.plan != nil {
		answer = d.plan
	}
	var events []api.Event
	for i, p := range answer(asked) {
		n := int64(i + 1)
		events = append(events, api.Event{Id: n, Task: "p1", Attempt: 1, Record: runspec.Record{Seq: n, Time: noon, Type: runspec.TypePlan, Body: p}})
	}
	return events
}

// foretold has a cost for the recipe that was asked about and for each preset.
func foretold(asked api.PlanCreate) []runspec.Plan {
	cost := func(seconds float64, files int64) runspec.Cost {
		return runspec.Cost{Seconds: runspec.Float(seconds), Rows: 26, CacheBytes: 1_200_000, FileBytes: files}
	}
	return []runspec.Plan{{Options: []runspec.PlanOption{
		{Name: runspec.PlanGiven, Recipe: *asked.Recipe, Cost: cost(3.2+float64(asked.Recipe.Views), 14_300_000)},
		{Name: "quick", Cost: cost(4.2, 14_300_000)}, {Name: "balanced", Cost: cost(31, 43_000_000)}, {Name: "best", Cost: cost(74, 43_000_000)}}}}
}

// tell adds an event one second after the last.
func (d *double) tell(kind runspec.Type, body any) {
	n := int64(len(d.events) + 1)
	d.events = append(d.events, api.Event{Id: n, Task: "r14", Attempt: 1, Record: runspec.Record{Seq: n, Time: noon.Add(time.Duration(n) * time.Second / 2), Type: kind, Body: body}})
}

func trainingRun(state api.State) api.Run {
	r := api.Run{Id: "r14", Number: 14, Name: "flowers", Dataset: "d1", State: state, Created: noon, Recipe: runspec.Default(runspec.Quick), Epoch: ptr(7), ValAccuracy: ptr(float32(0.918))}
	r.Recipe.Base = "efficientnet_lite0"
	return r
}

// learning tells the story of a training up to an epoch; one value is not a number.
func (d *double) learning(epochs int) {
	d.tell(runspec.TypeState, runspec.State{State: "running", Attempt: 1})
	d.tell(runspec.TypePhase, runspec.Phase{Phase: runspec.PhasePrepare})
	d.tell(runspec.TypeProblem, runspec.Problem{Path: "rose/cut.png", Class: "rose", Reason: "damaged", Text: "The file ends too early.", Action: runspec.ActionSkipped})
	d.tell(runspec.TypePhase, runspec.Phase{Phase: runspec.PhaseFeatures, Total: 26})
	d.tell(runspec.TypePhase, runspec.Phase{Phase: runspec.PhaseHead, Total: 20})
	for i := 1; i <= epochs; i++ {
		x := float64(i)
		e := runspec.Epoch{Phase: runspec.PhaseHead, Epoch: i, Attempt: 1, LearningRate: 0.01,
			TrainLoss: runspec.Float(1.2 / x), TrainAccuracy: runspec.Float(1 - 0.5/x), ValLoss: runspec.Float(0.25 + 1/x), ValAccuracy: runspec.Float(0.95 - 0.5/x)}
		if i == 4 {
			e.ValLoss = runspec.Float(math.NaN())
		}
		d.tell(runspec.TypeEpoch, e)
	}
	d.tell(runspec.TypeSystem, runspec.System{CPU: 1.9, RSSBytes: 900_000_000})
}

const reportJSON = `{"version":1,"split":"test","images":40,"accuracy":0.9,"top3":1,"loss":0.3,"ece":0.02,"macro_f1":0.9,
"confused":[{"actual":"rose","predicted":"tulip","count":3}],"worst":[],
"labels":["daisy","rose","tulip"],
"classes":[{"class":"daisy","images":12,"precision":1,"recall":1,"f1":1},{"class":"rose","images":14,"precision":0.92,"recall":0.786,"f1":0.847},{"class":"tulip","images":14,"precision":0.8,"recall":0.928,"f1":0.867}],
"confusion":[{"actual":0,"predicted":0,"count":12},{"actual":1,"predicted":1,"count":11},{"actual":1,"predicted":2,"count":3},{"actual":2,"predicted":1,"count":1},{"actual":2,"predicted":2,"count":13}],
"mistakes":[{"path":"rose/rosea.png","sha256":"00","actual":"rose","predicted":"tulip","confidence":0.97},{"path":"rose/roseb.png","sha256":"01","actual":"rose","predicted":"tulip","confidence":0.81},{"path":"tulip/tulipa.png","sha256":"02","actual":"tulip","predicted":"rose","confidence":0.6}],
"threshold":{"probability":0.7267,"coverage":0.925,"accuracy":0.973},
"compared":[{"role":"teacher","base":"efficientnet_lite2","accuracy":0.925,"params":4873006,"bytes":19492024,"macs":858456272,"ms_per_image":17.4},{"role":"trained","base":"efficientnet_lite0","accuracy":0.9,"params":3415000,"bytes":13660000,"macs":383907552,"ms_per_image":7.7}],
"mislabelled":[{"path":"rose/rosea.png","sha256":"00","given":"rose","suggested":"tulip","given_probability":0.02,"suggested_probability":0.98},{"path":"daisy/daisyb.png","sha256":"03","given":"daisy","suggested":"rose","given_probability":0.13,"suggested_probability":0.86}]}`
