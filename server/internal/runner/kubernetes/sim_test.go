package kubernetes_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
	runnerkube "github.com/cultivar-ml/cultivar/server/internal/runner/kubernetes"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

func jobNamed(task string, attempt int) runner.Job {
	return runner.Job{
		Name: "cv-" + task + "-" + strconv.Itoa(attempt), Kind: runspec.Train, Owner: "u1", Task: task, Attempt: attempt,
		Spec: "/volume/users/u1/tasks/" + task + "/spec.json", Mounts: []runner.Mount{{Name: "users/u1/tasks/" + task, Write: true}},
	}
}

// task is a row of the supervisor's database, which survives every restart.
type task struct {
	name    string
	attempt int
	state   string // starting, active, over
	cancel  bool
	verdict map[int]runner.Status // by attempt
}

// supervisor is what package tasks does with a runner, in short: a row before each effect, and ends that are final.
type supervisor struct {
	t     *testing.T
	rows  []*task
	trace *trace
	ended map[string]bool // jobs that are never to be started again
	mu    sync.Mutex
}

func (s *supervisor) step(ctx context.Context, r runner.Runner) {
	for _, row := range s.rows {
		if row.state == "over" || ctx.Err() != nil {
			continue
		}
		job := jobNamed(row.name, row.attempt)
		st, err := r.Status(ctx, job.Name)
		s.trace.status(job.Name, st, err)
		unknown := errors.Is(err, runner.ErrUnknown)
		switch {
		case err != nil && !unknown:
		case unknown && row.cancel:
			s.conclude(ctx, r, row, runner.Status{Phase: runner.Lost})
		case unknown && row.state == "starting":
			s.trace.add("start %s: %v", job.Name, r.Start(ctx, job)) // an error is tried again
		case unknown:
			s.conclude(ctx, r, row, runner.Status{Phase: runner.Lost})
		case st.Phase == runner.Exited || st.Phase == runner.Lost:
			s.conclude(ctx, r, row, st)
		case row.cancel || st.Stuck:
			row.cancel = true
			s.trace.news("kill "+job.Name, "%v", r.Kill(ctx, job.Name))
		case st.Phase == runner.Running:
			row.state = "active"
		}
	}
}

func (s *supervisor) conclude(ctx context.Context, r runner.Runner, row *task, st runner.Status) {
	job := jobNamed(row.name, row.attempt)
	s.mu.Lock()
	s.ended[job.Name] = true
	s.mu.Unlock()
	s.trace.add("%s is concluded: %+v", job.Name, st)
	row.verdict[row.attempt] = st
	row.state = "over"
	if row.attempt < 3 && !row.cancel && (st.Phase == runner.Lost || st.Exit.Cause != "") {
		row.state, row.attempt = "starting", row.attempt+1
	}
	_ = r.Remove(ctx, job.Name) // the sweep does it otherwise
}

func (s *supervisor) sweep(ctx context.Context, r runner.Runner) {
	names, err := r.List(ctx)
	if err != nil {
		return
	}
	for _, name := range names {
		if !s.ended[name] {
			continue
		}
		if st, err := r.Status(ctx, name); err == nil && (st.Phase == runner.Running || st.Phase == runner.Waiting) {
			_ = r.Kill(ctx, name)
			continue
		}
		_ = r.Remove(ctx, name)
	}
}

func (s *supervisor) over() bool {
	return !slices.ContainsFunc(s.rows, func(r *task) bool { return r.state != "over" })
}

// world is one seed's simulation.
type world struct {
	*served
	rng      *rand.Rand
	model    *model
	boss     *supervisor
	trace    *trace
	vandals  map[string]bool // jobs that somebody deleted by hand
	settings config.Kubernetes
}

func randomFaults(rng *rand.Rand) faults {
	some := func(most float64) float64 {
		if rng.IntN(3) == 0 {
			return 0
		}
		return most * rng.Float64()
	}
	return faults{
		refuse: some(0.2), lose: some(0.2), busy: some(0.2), hang: some(0.1), stale: some(0.3), gone: some(0.5), goneEvent: some(0.1),
		cut: some(0.2), mute: some(0.2), drop: some(0.4), duplicate: some(0.3), swap: some(0.3), late: some(0.2),
	}
}

func randomFate(rng *rand.Rand) fate {
	f := fate{
		schedule: time.Duration(rng.IntN(20)) * time.Second, pull: time.Duration(rng.IntN(20)) * time.Second,
		run: time.Duration(rng.IntN(90)) * time.Second, deaf: rng.IntN(4) == 0, end: "exit",
	}
	switch rng.IntN(14) {
	case 0:
		f.end = "oom"
	case 1:
		f.end = "evict"
	case 2:
		f.end = "delete"
	case 3:
		f.end = "force"
	case 4:
		f.end = "drain"
	case 5:
		f.end = "nodelost"
	case 6:
		f.run = -1 // until its deadline
	case 7:
		f.pull = -1
	default:
		f.code = []int32{0, 0, 11, 1, 30, 139}[rng.IntN(6)]
	}
	return f
}

func newWorld(t *testing.T, seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	d := newDouble(seed)
	d.faults, d.watchList = randomFaults(rng), rng.IntN(3) > 0
	w := &world{served: serve(t, d), rng: rng, vandals: map[string]bool{}}
	w.settings.Profiles = []config.Profile{{Name: "p", Deadline: config.Duration(10 * time.Minute)}}
	fates := rand.New(rand.NewPCG(seed, 2))
	w.model = newModel(d, func(*batchv1.Job) fate { return randomFate(fates) })
	w.model.skew = time.Duration(rng.IntN(7)-3) * time.Second
	slow := rand.New(rand.NewPCG(seed, 3))
	w.model.slow = func() bool { return slow.IntN(4) == 0 }
	w.trace = newTrace()
	d.onPut = w.trace.change
	w.boss = &supervisor{t: t, trace: w.trace, ended: map[string]bool{}}
	for i := range 2 + rng.IntN(4) {
		w.boss.rows = append(w.boss.rows, &task{name: fmt.Sprintf("t%d", i), attempt: 1, state: "starting", verdict: map[int]runner.Status{}})
	}
	d.onCreate = w.created
	return w
}

// created checks each creation: nothing that ended is started again, and nothing beside what still runs.
func (w *world) created(j *batchv1.Job) {
	w.boss.mu.Lock()
	defer w.boss.mu.Unlock()
	if w.boss.ended[j.Name] {
		w.t.Errorf("%s was created again after its end", j.Name)
	}
	for _, o := range w.all("pods") {
		p := o.(*corev1.Pod)
		if owner(p) == j.Name && !over(p) && !w.vandals[j.Name] {
			w.t.Errorf("%s was created while its pod %s lives", j.Name, p.Name)
		}
	}
}

// mischief is what people and programs do meanwhile.
func (w *world) mischief() {
	if w.rng.IntN(60) == 0 {
		w.boss.rows[w.rng.IntN(len(w.boss.rows))].cancel = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rng.IntN(20) == 0 {
		w.remember()
	}
	if jobs := w.all("jobs"); len(jobs) > 0 && w.rng.IntN(200) == 0 {
		name := jobs[w.rng.IntN(len(jobs))].GetName()
		w.vandals[name] = true
		w.remove("jobs", name)
	}
	if w.rng.IntN(150) == 0 {
		w.away = true
	} else if w.away && w.rng.IntN(20) == 0 {
		w.away = false
	}
}

// live steps everything once a second until the given time has passed or nothing is left to do.
func (w *world) live(r *runnerkube.Runner, span time.Duration, trouble bool) *runnerkube.Runner {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	stopped := make(chan struct{})
	go func() { // the cluster does not wait for the server
		defer close(stopped)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				w.model.step(time.Now())
			}
		}
	}()
	defer func() { cancel(); <-stopped }()
	for end := time.Now().Add(span); time.Now().Before(end) && (trouble || !w.boss.over()); {
		w.boss.step(ctx, r)
		if w.rng.IntN(30) == 0 {
			w.boss.sweep(ctx, r)
		}
		select {
		case <-r.Changed():
		case <-time.After(time.Second):
		}
		if !trouble {
			continue
		}
		w.mischief()
		if w.rng.IntN(60) == 0 {
			r.Close()
			time.Sleep(time.Duration(w.rng.IntN(60)) * time.Second)
			r = w.open(w.settings)
		}
	}
	return r
}

// converged compares what a runner that lived through everything knows with what one knows that has just looked.
func (w *world) converged(r *runnerkube.Runner) {
	fresh := w.open(w.settings)
	defer fresh.Close()
	ctx := w.t.Context()
	got, err1 := r.List(ctx)
	want, err2 := fresh.List(ctx)
	slices.Sort(got)
	slices.Sort(want)
	if err1 != nil || err2 != nil || !slices.Equal(got, want) {
		w.t.Errorf("a minute after the last fault it knows %v (%v), not %v (%v)", got, err1, want, err2)
	}
	for _, name := range want {
		a, err1 := r.Status(ctx, name)
		b, err2 := fresh.Status(ctx, name)
		// A pod that is gone was seen by the one and not by the other.
		known := a.Phase == runner.Exited && b.Phase == runner.Lost && w.model.traces[name] || a.Exit.Cause == runner.CauseDeleted && b.Phase == runner.Lost
		if err1 != nil || err2 != nil || a.Phase != b.Phase && !known && !w.remembers(name) || a.Stuck != b.Stuck {
			w.t.Errorf("a minute after the last fault %s is %+v (%v), not %+v (%v)", name, a, err1, b, err2)
		}
	}
}

// remembers tells whether a pod of the job vanished: who saw it waits for its end, who did not waits for its beginning.
func (w *world) remembers(name string) bool {
	return w.model.traces[name] || w.model.ending[name] || w.vandals[name]
}

func (w *world) verdicts() {
	for _, row := range w.boss.rows {
		if row.state != "over" {
			w.t.Errorf("%s is %s for ever", row.name, row.state)
		}
		for attempt, got := range row.verdict {
			name := jobNamed(row.name, attempt).Name
			want, known := w.model.truth[name]
			good := got.Phase == runner.Exited && got.Exit.Code == 0 && got.Exit.Cause == ""
			switch {
			case good && (!known || want.Code != 0 || want.Cause != ""):
				w.t.Errorf("%s is called a success, and was %+v", name, want)
			case row.cancel && attempt == row.attempt, w.vandals[name]:
			case w.model.traces[name] && (got.Phase == runner.Lost || got.Exit.Cause == runner.CauseDeleted):
			case !known || got.Phase != runner.Exited || got.Exit.Cause != want.Cause || want.Cause == "" && got.Exit.Code != codeOf(want.Code) || got.Exit.Signal != want.Signal && want.Code != 139 && want.Cause == "":
				w.t.Errorf("%s ended as %+v, and was %+v (%v)", name, got, want, known)
			}
		}
	}
}

func codeOf(code int) int {
	if code > 128 {
		return -1
	}
	return code
}

// simulate runs one seed: minutes of faults, a minute of rest, a look, and then to the end of every task.
func simulate(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seed)
		r := w.live(w.open(w.settings), 4*time.Minute, true)
		w.mu.Lock()
		w.faults, w.away = faults{}, false
		w.mu.Unlock()
		time.Sleep(time.Minute)
		w.converged(r)
		r = w.live(r, 90*time.Minute, false)
		w.verdicts()
		r.Close()
		if t.Failed() {
			t.Errorf("seed %d fails; again with CULTIVAR_SEEDS=1 CULTIVAR_FIRST_SEED=%d\n%s", seed, seed, w.trace)
		}
	})
}

// TestSeeds runs 10,000 seeds, 500 with -short; CULTIVAR_SEEDS says another number, CULTIVAR_FIRST_SEED where to begin.
func TestSeeds(t *testing.T) {
	seeds, first := 10_000, 0
	if testing.Short() {
		seeds = 500
	}
	if n, err := strconv.Atoi(os.Getenv("CULTIVAR_SEEDS")); err == nil {
		seeds = n
	}
	if n, err := strconv.Atoi(os.Getenv("CULTIVAR_FIRST_SEED")); err == nil {
		first = n
	}
	const workers = 4
	for w := range workers {
		t.Run(fmt.Sprintf("worker %d", w), func(t *testing.T) {
			t.Parallel()
			for seed := first + w; seed < first+seeds && !t.Failed(); seed += workers {
				simulate(t, uint64(seed))
			}
		})
	}
}
