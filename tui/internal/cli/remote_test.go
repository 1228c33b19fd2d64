package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/cli"
	"github.com/cultivar-ml/cultivar/tui/internal/login"
)

const secret = "cv_topsecret"

func ptr[T any](v T) *T { return &v }

// remote speaks the contract of a server that has one run and gives what a test tells it to.
type remote struct {
	mu        sync.Mutex
	abilities api.Abilities
	run       api.Run
	events    []any            // bodies of the run's records
	plans     []runspec.Plan   // answers to what is planned, one after the other
	planned   api.PlanCreate   // what was asked for
	report    string           // evaluation.json
	looks     [][]api.Delivery // answers to one look after the other; the last stays
	orders    []string         // requests that change something
	order     api.ShareCreate
	away      int    // so many more looks at deliveries get no answer
	refuse    string // what is said in place of every answer
}

func (s *remote) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != "" {
		s.fail(w, 500, api.CodeInternal, s.refuse)
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+secret && r.URL.Path != "/api/v1/version" {
		s.fail(w, 401, api.CodeUnauthorized, "Your token ended on 2026-03-01. Ask for a new one.")
		return
	}
	if r.Method != http.MethodGet {
		s.orders = append(s.orders, r.Method+" "+r.URL.Path)
	}
	route := strings.TrimPrefix(r.URL.Path, "/api/v1/")
	switch {
	case route == "version":
		s.answer(w, api.Version{Version: "1"})
	case route == "abilities":
		s.answer(w, s.abilities)
	case route == "bases":
		s.answer(w, api.BaseList{Bases: []api.Base{{Name: "b", Title: "Base", Params: 2_300_000, Bytes: 9_200_000, Macs: 300_000_000,
			MsPerImage: ptr(4.25), MeasuredOn: ptr("Abacus\x1b[2J, 2 cores"), Unverified: ptr(true)}, {Name: "c", Title: "Other"}}})
	case route == "runs":
		s.answer(w, api.RunPage{Runs: []api.Run{s.run}})
	case route == "runs/r/stop", route == "runs/r":
		s.answer(w, s.run)
	case route == "tasks/r":
		s.answer(w, api.Task{Id: "r", State: s.run.State, LastEvent: int64(len(s.events))})
	case route == "tasks/r/events":
		for i, body := range s.events {
			n := int64(i + 1)
			kind := runspec.TypeState
			switch body.(type) {
			case runspec.Epoch:
				kind = runspec.TypeEpoch
			case runspec.Result:
				kind = runspec.TypeResult
			}
			b, _ := json.Marshal(api.Event{Id: n, Task: "r", Record: runspec.Record{Seq: n, Time: time.Unix(n, 0), Type: kind, Body: body}})
			_, _ = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", n, b)
		}
	case route == "runs/r/artifacts/evaluation.json":
		_, _ = io.WriteString(w, s.report)
	case route == "blobs/missing": // all are
		hashes, _ := io.ReadAll(r.Body)
		_, _ = w.Write(bytes.Repeat([]byte{0xff}, (len(hashes)/32+7)/8))
	case route == "runs/plan":
		_ = json.NewDecoder(r.Body).Decode(&s.planned)
		w.WriteHeader(http.StatusAccepted)
		s.answer(w, api.Task{Id: "p", Kind: api.Plan})
	case route == "tasks/p":
		s.answer(w, api.Task{Id: "p", State: api.StateSucceeded, LastEvent: int64(len(s.plans))})
	case route == "tasks/p/events":
		for i, p := range s.plans {
			b, _ := json.Marshal(api.Event{Id: int64(i + 1), Task: "p", Record: runspec.Record{Seq: int64(i + 1), Type: runspec.TypePlan, Body: p}})
			_, _ = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", i+1, b)
		}
	case route == "runs/r/share":
		_ = json.NewDecoder(r.Body).Decode(&s.order)
		w.WriteHeader(http.StatusAccepted)
		s.answer(w, api.DeliveryList{Deliveries: s.look()})
	case route == "runs/r/artifacts":
		s.answer(w, api.ArtifactList{Artifacts: []api.Artifact{{Name: "model.h5", Format: "h5"}, {Name: "labels.txt", Format: "labels"}}})
	case route == "runs/r/deliveries" && s.away > 0:
		s.away--
		s.fail(w, 503, api.CodeUnavailable, "The server is starting.")
	case route == "runs/r/deliveries":
		s.answer(w, api.DeliveryList{Deliveries: s.look()})
	case strings.HasSuffix(route, "/retry"):
		for _, d := range s.looks[0] {
			if strings.Contains(route, "/"+d.Id+"/") {
				d.State = api.DeliveryWaiting
				s.answer(w, d)
			}
		}
	default:
		s.fail(w, 404, api.CodeNotFound, "There is no such thing.")
	}
}

func (s *remote) look() []api.Delivery {
	if len(s.looks) == 0 {
		return []api.Delivery{}
	}
	now := s.looks[0]
	if len(s.looks) > 1 {
		s.looks = s.looks[1:]
	}
	return now
}

func (s *remote) answer(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func (s *remote) fail(w http.ResponseWriter, status int, code api.ErrorCode, words string) {
	w.WriteHeader(status)
	s.answer(w, api.Error{Code: code, Message: words})
}

// start serves it and names it by the environment.
func (s *remote) start(t *testing.T) string {
	t.Helper()
	private(t)
	if s.run.Id == "" {
		s.run = api.Run{Id: "r", Number: 14, Name: "flowers", State: api.StateSucceeded, Recipe: runspec.Default(runspec.Quick)}
	}
	srv := httptest.NewServer(s)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	t.Setenv("CULTIVAR_SERVER", srv.URL)
	t.Setenv("CULTIVAR_TOKEN", secret)
	return srv.URL
}

func link(state api.DeliveryState) api.Delivery {
	d := api.Delivery{Id: "l", Kind: api.DeliveryLink, State: state, Target: ptr("model.h5")}
	if state == api.DeliveryDelivered {
		d.Url = ptr("https://share.example/s/abc/model.h5?dl=1")
	}
	return d
}

func mailed(state api.DeliveryState, reason string) api.Delivery {
	d := api.Delivery{Id: "m", Kind: api.DeliveryEmail, State: state, Target: ptr("me@example.org")}
	if reason != "" {
		d.Reason = ptr(reason)
	}
	return d
}

// TestShare: the link alone is on standard output, and the state goes to standard error as it changes.
func TestShare(t *testing.T) {
	both := api.Abilities{Share: true, Mail: true}
	later := mailed(api.DeliveryWaiting, "The mail server is busy.")
	later.Next = ptr(time.Now().Add(time.Hour))
	down := link(api.DeliveryWaiting)
	down.Reason, down.Next = ptr("Dropbox could not be reached."), later.Next
	sending := down
	sending.State, sending.Next = api.DeliverySending, nil
	lasting := link(api.DeliveryDelivered)
	lasting.Reason = ptr("The account cannot make links that end.")
	for name, tc := range map[string]struct {
		abilities api.Abilities
		looks     [][]api.Delivery
		args      []string
		code      int
		out       string
		says      []string
		orders    []string
	}{
		"made": {both, [][]api.Delivery{{link(api.DeliveryWaiting)}, {link(api.DeliveryWaiting)}, {link(api.DeliverySending)}, {link(api.DeliveryDelivered)}}, []string{"share", "14"},
			0, "https://share.example/s/abc/model.h5?dl=1\n", []string{"Link to model.h5: waiting", "Link to model.h5: under way", "Link to model.h5: made"}, []string{"POST /api/v1/runs/r/share"}},
		"mailed too": {both, [][]api.Delivery{{link(api.DeliveryDelivered), mailed(api.DeliveryDelivered, "")}}, []string{"share", "latest", "--email", "me@example.org"},
			0, "https://share.example/s/abc/model.h5?dl=1\n", []string{"Mail to me@example.org: sent"}, nil},
		"mail failed": {both, [][]api.Delivery{{link(api.DeliveryDelivered), mailed(api.DeliveryFailed, "No such \x1b[2Jmailbox.")}}, []string{"share", "14", "--email", "me@example.org"},
			1, "https://share.example/s/abc/model.h5?dl=1\n", []string{"failed: No such ␛[2Jmailbox.", "not delivered: the mail.", "cultivar share 14 --retry", "--email mails it to another address"}, nil},
		"tried again in an hour": {both, [][]api.Delivery{{later}}, []string{"share", "14", "--email", "me@example.org"},
			1, "", []string{"waiting, next try ", "The mail server is busy.", "--status"}, nil},
		"Dropbox is down": {both, [][]api.Delivery{{sending, mailed(api.DeliveryWaiting, "")}, {sending, mailed(api.DeliveryWaiting, "")}, {down, mailed(api.DeliveryWaiting, "")}}, []string{"share", "14", "--email", "me@example.org"},
			1, "", []string{"under way\n", "Mail to me@example.org: goes out after the link", "Dropbox could not be reached.", "not delivered yet: the link and the mail.", "--retry tries now"}, nil},
		"retry while Dropbox is down": {both, [][]api.Delivery{{down, mailed(api.DeliveryWaiting, "")}}, []string{"share", "14", "--retry"},
			1, "", []string{"next try ", "not delivered yet: the link and the mail"}, []string{"POST /api/v1/runs/r/deliveries/l/retry"}},
		"no such file":           {both, nil, []string{"share", "14", "--file", "model.onnx"}, 3, "", []string{"no file model.onnx", "model.h5, labels.txt"}, []string{}},
		"links that stay":        {both, [][]api.Delivery{{lasting}}, []string{"share", "14", "--status"}, 0, "Link to model.h5: https://share.example/s/abc/model.h5?dl=1\n  The account cannot make links that end.\n", nil, []string{}},
		"not waited for":         {both, [][]api.Delivery{{link(api.DeliveryWaiting)}}, []string{"share", "14", "--no-wait"}, 0, "", []string{"--status"}, nil},
		"nothing set up":         {api.Abilities{}, nil, []string{"share", "14"}, 1, "", []string{"not set up to share", "cultivar download 14"}, []string{}},
		"mail only, no address":  {api.Abilities{Mail: true}, nil, []string{"share", "14"}, 1, "", []string{"--email"}, []string{}},
		"links only":             {api.Abilities{Share: true}, nil, []string{"share", "14", "--email", "me@example.org"}, 1, "", []string{"not set up to send mail"}, []string{}},
		"status":                 {both, [][]api.Delivery{{mailed(api.DeliveryFailed, "No.")}}, []string{"share", "14", "--status"}, 0, "Mail to me@example.org: failed: No.\n", nil, []string{}},
		"status, nothing set up": {api.Abilities{}, nil, []string{"share", "14", "--status"}, 0, "Nothing of run #14 was shared or mailed. `cultivar download 14` takes the model home.\n", nil, []string{}},
		"status of nothing":      {both, nil, []string{"share", "14", "--status"}, 0, "Nothing of run #14 was shared or mailed. `cultivar share 14` makes a link.\n", nil, []string{}},
		"retry": {both, [][]api.Delivery{{link(api.DeliveryDelivered), mailed(api.DeliveryFailed, "No.")}, {link(api.DeliveryDelivered), mailed(api.DeliveryDelivered, "")}}, []string{"share", "14", "--retry"},
			0, "", []string{"Mail to me@example.org: sent"}, []string{"POST /api/v1/runs/r/deliveries/m/retry"}},
		"nothing to retry": {both, [][]api.Delivery{{link(api.DeliveryDelivered)}}, []string{"share", "14", "--retry"}, 0, "", []string{"Nothing of run #14 failed"}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &remote{abilities: tc.abilities, looks: tc.looks}
			s.start(t)
			o := cultivar(t.Context(), t, tc.args...)
			o.expect(t, tc.code, tc.says...)
			if o.out != tc.out {
				t.Errorf("standard output %q, want %q", o.out, tc.out)
			}
			if tc.orders != nil && !slices.Equal(s.orders, tc.orders) {
				t.Errorf("the server was asked %q, want %q", s.orders, tc.orders)
			}
			if strings.Contains(o.out+o.err, "\x1b") {
				t.Errorf("an escape reaches the terminal: %q", o.out+o.err)
			}
		})
	}
	t.Run("the server starts anew meanwhile", func(t *testing.T) {
		s := &remote{abilities: both, away: 3, looks: [][]api.Delivery{{link(api.DeliverySending)}, {link(api.DeliveryDelivered)}}}
		s.start(t)
		o := cultivar(t.Context(), t, "share", "14")
		o.expect(t, 0, "connection is lost", "Connected again", "https://share.example")
		if strings.Count(o.err, "connection is lost") != 1 {
			t.Errorf("told more than once:\n%s", o.err)
		}
	})
	t.Run("of a failed run", func(t *testing.T) {
		s := &remote{abilities: both, run: api.Run{Id: "r", Number: 14, State: api.StateFailed, Reason: ptr("The disk is full.")}}
		s.start(t)
		cultivar(t.Context(), t, "share", "14").expect(t, 7, "has no model")
	})
	t.Run("json", func(t *testing.T) {
		s := &remote{abilities: both, looks: [][]api.Delivery{{link(api.DeliverySending)}, {link(api.DeliveryDelivered)}}}
		s.start(t)
		o := cultivar(t.Context(), t, "share", "14", "--json", "--file", "model.h5")
		o.expect(t, 0)
		var states []string
		for text := range strings.Lines(o.out) {
			var l struct {
				Type     string `json:"message_type"`
				Run      string
				Delivery api.Delivery
			}
			if err := json.Unmarshal([]byte(text), &l); err != nil || l.Type != "delivery" || l.Run != "r" {
				t.Fatalf("line %s, %v", text, err)
			}
			states = append(states, string(l.Delivery.State))
		}
		if states = slices.Compact(states); len(states) == 0 || states[len(states)-1] != "delivered" || s.order.Artifact == nil {
			t.Errorf("states %v, order %+v", states, s.order)
		}
	})
}

// TestWishesAreRefusedBeforeTheUpload: what the server cannot do is said before a photo is even looked at.
func TestWishesAreRefusedBeforeTheUpload(t *testing.T) {
	for name, tc := range map[string]struct {
		abilities api.Abilities
		args      []string
		says      string
	}{
		"mail":        {api.Abilities{Share: true}, []string{"--email", "me@example.org"}, "not set up to send mail"},
		"link":        {api.Abilities{Mail: true}, []string{"--share"}, "cultivar download latest"},
		"profile":     {api.Abilities{Profiles: []api.Profile{{Name: "cpu"}, {Name: "gpu"}}}, []string{"--profile", "tpu"}, "Choose one of: cpu, gpu."},
		"one profile": {api.Abilities{}, []string{"--profile", "tpu"}, "leave --profile out"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &remote{abilities: tc.abilities}
			s.start(t)
			home := t.TempDir()
			// The folder is not there: a command that came so far would say that instead.
			o := cultivar(t.Context(), t, append([]string{"train", filepath.Join(home, "absent"), "-o", home}, tc.args...)...)
			o.expect(t, 1, tc.says)
			if len(s.orders) != 0 {
				t.Errorf("the server was asked %q", s.orders)
			}
		})
	}
}

// A teacher that cannot be one is refused before photos are sent.
func TestTeacherIsRefusedBeforeTheUpload(t *testing.T) {
	for name, tc := range map[string]struct {
		state api.State
		flag  string
		code  int
		says  string
	}{
		"failed":   {api.StateFailed, "--distill", 1, "nothing can be learned from it: run #14 failed"},
		"running":  {api.StateRunning, "--distill-teacher", 1, "has no model yet"},
		"no such":  {api.StateSucceeded, "--distill=99", 3, "no run #99"},
		"is there": {api.StateSucceeded, "--distill", 1, "absent"}, // so far that the folder is missed
	} {
		t.Run(name, func(t *testing.T) {
			s := &remote{run: api.Run{Id: "r", Number: 14, Name: "flowers", State: tc.state, Recipe: runspec.Default(runspec.Quick)}}
			s.start(t)
			home := t.TempDir()
			args := []string{"train", filepath.Join(home, "absent"), "-o", home, tc.flag}
			if !strings.Contains(tc.flag, "=") {
				args = append(args, "14")
			}
			cultivar(t.Context(), t, args...).expect(t, tc.code, tc.says)
			if len(s.orders) != 0 {
				t.Errorf("the server was asked %q", s.orders)
			}
		})
	}
}

func TestProfilesComplete(t *testing.T) {
	s := &remote{abilities: api.Abilities{Profiles: []api.Profile{{Name: "cpu", Description: "4 cores"}, {Name: "gpu", Description: "1 GPU"}}}}
	s.start(t)
	cultivar(t.Context(), t, "__complete", "train", "x", "--profile", "").expect(t, 0, "cpu\t4 cores", "gpu\t1 GPU")
}

// TestBases shows what the server knows of each base model, and says what the figures stand on.
func TestBases(t *testing.T) {
	(&remote{}).start(t)
	o := cultivar(t.Context(), t, "bases")
	o.expect(t, 0, "Base *", "9.2 MB", "0.30 G", "4.2", "Milliseconds a photo: on Abacus", "2 cores, decoding not counted.", "* No hash of these weights is published")
	if strings.Contains(o.out, "\x1b") || strings.Count(o.out, " * ") != 1 {
		t.Errorf("%q", o.out)
	}
	cultivar(t.Context(), t, "bases", "--json").expect(t, 0, `"ms_per_image":4.25`, `"bytes":9200000`, `"unverified":true`)
}

// TestWatchTellsWaitingAndDelivery: the newest reason for waiting is told, those it has outlived are not, and what became
// of the mail comes at the end.
func TestWatchTellsWaitingAndDelivery(t *testing.T) {
	s := &remote{
		abilities: api.Abilities{Mail: true},
		run:       api.Run{Id: "r", Number: 14, Name: "flowers", State: api.StateStarting, LastEvent: 3, Recipe: runspec.Default(runspec.Quick), Reason: ptr("Waiting for a machine: 0/2 nodes are available: 2 Insufficient \x1bcpu.")},
		events: []any{
			runspec.State{State: "starting", Attempt: 1, Reason: "Waiting for a machine: 0/1 nodes are available: 1 Insufficient cpu."},
			runspec.State{State: "starting", Attempt: 1, Reason: "Waiting for a machine: 0/2 nodes are available: 2 Insufficient cpu."},
			runspec.State{State: "starting", Attempt: 1, Reason: "Waiting for a machine: 0/2 nodes are available: 2 Insufficient \x1bcpu."},
			runspec.State{State: "starting", Attempt: 1, Reason: "Waiting for a machine: a new one boots."},
			runspec.State{State: "starting", Attempt: 1, Reason: "Waiting for a machine: a new one boots."},
			runspec.State{State: "running", Attempt: 1},
			runspec.Epoch{Phase: runspec.PhaseHead, Epoch: 1, Attempt: 1, ValLoss: 1},
			runspec.State{State: "succeeded", Attempt: 1},
		},
		looks: [][]api.Delivery{{mailed(api.DeliveryWaiting, "")}, {mailed(api.DeliverySending, "")}, {mailed(api.DeliveryDelivered, "")}},
	}
	s.start(t)
	cultivar(t.Context(), t, "runs").expect(t, 0, "starting: Waiting for a machine: 0/2 nodes are available: 2…")
	o := cultivar(t.Context(), t, "watch", "14")
	o.expect(t, 7, "starting: Waiting for a machine: 0/2 nodes are available: 2 Insufficient ␛cpu.", "a new one boots.", "Mail to me@example.org: waiting", "Mail to me@example.org: sent")
	if strings.Count(o.err, "a new one boots") != 1 || strings.Contains(o.err, "0/1 nodes") || strings.Count(o.out, "epoch") != 1 {
		t.Errorf("told:\n%s%s", o.out, o.err)
	}
	later := link(api.DeliveryWaiting)
	later.Next = ptr(time.Now().Add(time.Hour))
	s.run.State, s.run.LastEvent, s.run.Reason, s.looks = api.StateSucceeded, 8, nil, [][]api.Delivery{{later, mailed(api.DeliveryWaiting, "")}}
	if o = cultivar(t.Context(), t, "watch", "14"); strings.Contains(o.err, "Waiting up to") {
		t.Errorf("it waits for what comes in an hour:\n%s", o.err)
	}
	o.expect(t, 0, "goes out after the link", "goes on trying")
	s.looks = [][]api.Delivery{{mailed(api.DeliveryWaiting, "")}}
	o = cultivar(t.Context(), t, "watch", "14")
	o.expect(t, 0, "Waiting up to 30 s", "goes on trying", "cultivar share 14 --status", "cultivar download 14")
	if strings.Contains(o.err, "a machine") {
		t.Errorf("an outlived reason is told:\n%s", o.err)
	}
	o = cultivar(t.Context(), t, "watch", "14", "--json")
	o.expect(t, 0)
	all := linesOf(t, o)
	if last := all[len(all)-1]; last.Event != "result" || all[len(all)-2].Event != "delivery" {
		t.Errorf("the last lines are %+v", all[len(all)-2:])
	}
}

// TestLogin walks through signing in, using the server, and signing out; the token is never printed.
func TestLogin(t *testing.T) {
	s := &remote{abilities: api.Abilities{Runner: api.RunnerKubernetes, Mail: true, Share: true}}
	address := s.start(t)
	t.Setenv("CULTIVAR_SERVER", "")
	t.Setenv("CULTIVAR_TOKEN", "")
	file := filepath.Join(t.TempDir(), "token")
	var said strings.Builder
	run := func(p cli.Program, args ...string) outcome {
		o := with(t.Context(), t, p, args...)
		said.WriteString(o.out + o.err)
		return o
	}
	ask := func(word string) cli.Program {
		return cli.Program{Secret: func(_ context.Context, prompt string) (string, error) { said.WriteString(prompt); return word, nil }}
	}
	run(cli.Program{}, "server").expect(t, 0, "the one on this machine; no other is named")
	// While the token is asked for, another terminal signs in elsewhere.
	run(cli.Program{Secret: func(context.Context, string) (string, error) {
		known := login.Servers{Version: 1}
		known.Put(login.Server{Server: "https://gpu.example.org", Token: "cv_gpu"})
		return secret, known.Save()
	}}, "login", address).expect(t, 0, "Signed in")
	run(cli.Program{}, "server").expect(t, 0, "also signed in to: https://gpu.example.org")
	if err := os.Remove(login.Path()); err != nil {
		t.Fatal(err)
	}
	run(ask("cv_wrong"), "login", address).expect(t, 4, "Your token ended on 2026-03-01", "Nothing was kept")
	run(ask(""), "login", address).expect(t, 1, "the token is empty")
	run(ask("two words"), "login", address).expect(t, 1, "that is no token")
	if _, err := os.Stat(login.Path()); err == nil {
		t.Error("a refused sign-in was kept")
	}
	run(ask(" "+secret+"\n"), "login", address+"/").expect(t, 0, "Signed in to "+address, "Kubernetes", "share links and sends mail")
	run(cli.Program{}, "server").expect(t, 0, address, "cultivar login", login.Path())
	run(cli.Program{}, "server", "--json").expect(t, 0, `"source":"login","signed_in":true`)
	run(cli.Program{}, "runs").expect(t, 0, "flowers")
	run(cli.Program{}, "runs", "--server", address).expect(t, 0, "flowers")

	t.Setenv("CULTIVAR_SERVER", "http://127.0.0.1:1")
	run(cli.Program{}, "server").expect(t, 0, "http://127.0.0.1:1", "CULTIVAR_SERVER names it", "token: none", "also signed in to: "+address)
	run(cli.Program{}, "server", "--server", address).expect(t, 0, "--server names it", "kept in")
	run(cli.Program{}, "server", "--server", "own").expect(t, 0, "as asked for")
	t.Setenv("CULTIVAR_SERVER", "")
	t.Setenv("CULTIVAR_TOKEN", "cv_other")
	run(cli.Program{}, "runs").expect(t, 0, "flowers") // the kept token belongs to this server, the other does not
	run(cli.Program{}, "server").expect(t, 0, "CULTIVAR_TOKEN is not used")
	run(cli.Program{}, "runs", "--server", address).expect(t, 4, "Your token ended")
	t.Setenv("CULTIVAR_TOKEN", "")

	run(cli.Program{}, "logout").expect(t, 0, "Signed out of "+address)
	run(cli.Program{}, "runs", "--server", address).expect(t, 4)
	if b, err := os.ReadFile(login.Path()); err != nil || strings.Contains(string(b), secret) {
		t.Errorf("after signing out the file holds %s, %v", b, err)
	}
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(cli.Program{}, "login", address, "--token-file", file, "--json").expect(t, 0, `"mail":true`)
	run(cli.Program{In: strings.NewReader(secret)}, "login", address, "--token-file", "-").expect(t, 0, "Signed in")
	run(cli.Program{}, "login", address, "--token-file", file+"-absent").expect(t, 1, "no such file")
	run(cli.Program{In: strings.NewReader(secret)}, "login", address+"/elsewhere", "--token-file", "-").expect(t, 3, "is no Cultivar server", "Nothing was kept")
	if strings.Contains(said.String(), secret) || strings.Contains(said.String(), "cv_wrong") {
		t.Error("a token was printed")
	}
}

// TestLoginOverTLS: --ca is kept with the sign-in, so that later commands trust the server too.
func TestLoginOverTLS(t *testing.T) {
	s := &remote{}
	s.start(t)
	srv := httptest.NewUnstartedServer(s)
	srv.Config.ErrorLog = quiet()
	srv.StartTLS()
	t.Cleanup(srv.Close)
	t.Setenv("CULTIVAR_SERVER", "")
	t.Setenv("CULTIVAR_TOKEN", "")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	token := cli.Program{In: strings.NewReader(secret)}
	with(t.Context(), t, token, "login", srv.URL, "--token-file", "-").expect(t, 5, "authority that this machine does not know", "--ca FILE")
	token.In = strings.NewReader(secret)
	with(t.Context(), t, token, "login", srv.URL, "--token-file", "-", "--ca", ca).expect(t, 0, "Signed in")
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	cultivar(t.Context(), t, "runs").expect(t, 0, "flowers")
	token.In = strings.NewReader(secret) // a new token alone: the authority is known
	with(t.Context(), t, token, "login", srv.URL, "--token-file", "-").expect(t, 0, "Signed in")
}

// TestSignInIsSaid: who is not known is told how to become so, before a folder is looked at.
func TestSignInIsSaid(t *testing.T) {
	s := &remote{}
	address := s.start(t)
	home := t.TempDir()
	t.Setenv("CULTIVAR_TOKEN", "cv_other")
	for _, args := range [][]string{{"runs"}, {"share", "14"}, {"train", filepath.Join(home, "absent"), "-o", home}} {
		cultivar(t.Context(), t, args...).expect(t, 4, "Your token ended", "The token is the one in CULTIVAR_TOKEN")
	}
	t.Setenv("CULTIVAR_TOKEN", "")
	cultivar(t.Context(), t, "runs").expect(t, 4, "Then sign in: cultivar login "+address)
	cultivar(t.Context(), t, "doctor").expect(t, 4, "FAIL", "Then sign in: cultivar login "+address)
	t.Setenv("CULTIVAR_TOKEN", secret+"\r\n") // as a secret's file ends
	cultivar(t.Context(), t, "runs").expect(t, 0, "flowers")
	cultivar(t.Context(), t, "doctor").expect(t, 0, "server: "+address+", release 1")
}

// TestNamedServer: an address that is given is the one that signing in would keep, and no secret in it is shown.
func TestNamedServer(t *testing.T) {
	s := &remote{}
	address := s.start(t)
	for name, tc := range map[string]struct {
		server, token string
		code          int
		says          string
	}{
		"a slash more":     {address + "/", secret, 0, "flowers"},
		"password":         {"https://me:hunter2@127.0.0.1:1", "", 2, "CULTIVAR_SERVER: the address holds a name or a password"},
		"token in a query": {"https://127.0.0.1:1?token=hunter2", "", 2, "CULTIVAR_SERVER: the address ends in a query"},
		"two tokens":       {address, secret + "\nhunter2", 2, "CULTIVAR_TOKEN: that is no token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CULTIVAR_SERVER", tc.server)
			t.Setenv("CULTIVAR_TOKEN", tc.token)
			o := cultivar(t.Context(), t, "runs")
			o.expect(t, tc.code, tc.says)
			if strings.Contains(o.out+o.err, "hunter2") {
				t.Errorf("a secret is shown:\n%s%s", o.out, o.err)
			}
		})
	}
	t.Setenv("CULTIVAR_SERVER", "http://gpu.example.org")
	cultivar(t.Context(), t, "server").expect(t, 1, "CULTIVAR_SERVER names it", "not encrypted")
}

// TestHostileServer: what a server says in errors and lists cannot write to the terminal by itself, as JSON neither.
func TestHostileServer(t *testing.T) {
	const bad = "\x1b]0;owned\a\u009b31m\u202e\U000e0001"
	s := &remote{abilities: api.Abilities{Share: true, Mail: true}}
	s.start(t)
	check := func(o outcome) {
		t.Helper()
		if i := strings.IndexFunc(o.out+o.err, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }); i >= 0 {
			t.Errorf("at %d something acts on the terminal: %q", i, o.out+o.err)
		}
	}
	s.run.Name, s.run.State = bad, api.State("done"+bad)
	for _, args := range [][]string{{"runs"}, {"runs", "--json"}, {"share", "14"}} {
		check(cultivar(t.Context(), t, args...))
	}
	s.run.State = api.StateSucceeded
	evil := link(api.DeliveryDelivered)
	evil.Url, evil.Target, evil.Reason = ptr("https://h/"+bad), ptr(bad), ptr(bad)
	s.looks = [][]api.Delivery{{evil}}
	for _, args := range [][]string{{"share", "14"}, {"share", "14", "--json"}, {"share", "14", "--status"}} {
		check(cultivar(t.Context(), t, args...))
	}
	o := cultivar(t.Context(), t, "share", "14", "--json")
	var l struct{ Delivery api.Delivery }
	if err := json.Unmarshal([]byte(o.out), &l); err != nil || *l.Delivery.Reason != bad {
		t.Errorf("the JSON means something else: %+v, %v", l, err)
	}
	s.refuse = bad
	o = cultivar(t.Context(), t, "runs")
	o.expect(t, 1, "owned")
	check(o)
}

// TestJSONLines: each object that --json prints says first what it is.
func TestJSONLines(t *testing.T) {
	s := &remote{abilities: api.Abilities{Share: true}, looks: [][]api.Delivery{{link(api.DeliveryDelivered)}}}
	address := s.start(t)
	folder := filepath.Join(t.TempDir(), "garden")
	for _, tc := range []struct{ kind, args string }{
		{"sample", "sample " + folder + " --per-class 2"}, {"scan", "check " + folder},
		{"delivery", "share 14"}, {"delivery", "share 14 --status"}, {"delivery", "share 14 --no-wait"},
		{"run", "stop 14"}, {"finding", "doctor"}, {"server", "server"},
		{"login", "login " + address + " --token-file -"}, {"logout", "logout"},
	} {
		o := with(t.Context(), t, cli.Program{In: strings.NewReader(secret)}, append(strings.Fields(tc.args), "--json")...)
		if !strings.HasPrefix(o.out, `{"message_type":"`+tc.kind+`",`) {
			t.Errorf("%s prints %s%s", tc.args, o.out, o.err)
		}
		for text := range strings.Lines(o.out) {
			if !json.Valid([]byte(text)) {
				t.Errorf("%s prints no JSON: %s", tc.args, text)
			}
		}
	}
}

// quiet is a log that nobody reads.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
