package kubernetes_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
	runnerkube "github.com/cultivar-ml/cultivar/server/internal/runner/kubernetes"
)

func TestCheckNamesEveryRightThatIsMissing(t *testing.T) {
	calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
		s.set(func() { s.denied = map[string]bool{"delete jobs": true, "list events": true} })
		var missing []string
		all := r.Check(t.Context())
		for _, p := range all {
			if must(t, p.Err); !p.Allowed {
				missing = append(missing, p.What)
			}
		}
		if len(all) != 10 || !slices.Equal(missing, []string{"delete jobs", "list events"}) {
			t.Errorf("of %d rights %v are missing", len(all), missing)
		}
		s.set(func() { s.away = true })
		for _, p := range r.Check(t.Context()) {
			if p.Err == nil || p.Allowed {
				t.Errorf("nobody can know whether it may %s", p.What)
			}
		}
	})
}

func TestIssuerAndKeys(t *testing.T) {
	calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
		issuer, err := r.Issuer(t.Context())
		must(t, err)
		keys, err := r.Keys(t.Context())
		must(t, err)
		if issuer != "https://kubernetes.default.svc" || !strings.Contains(string(keys), `"kid":"one"`) {
			t.Errorf("issuer %q, keys %s", issuer, keys)
		}
		s.set(func() { s.away = true })
		if _, err := r.Issuer(t.Context()); err == nil {
			t.Error("nobody can know the issuer")
		}
	})
}

func TestStatusOfSomebodyElsesJob(t *testing.T) {
	calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
		s.set(func() {
			s.put("jobs", &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "cv-t-1", UID: s.uid()}}, "ADDED")
		})
		if st, err := r.Status(t.Context(), "cv-t-1"); err == nil || errors.Is(err, runner.ErrUnknown) {
			t.Errorf("it is %+v, %v", st, err)
		}
		if err := r.Kill(t.Context(), "cv-t-1"); err == nil || s.requests("delete jobs") > 0 {
			t.Errorf("it was ended: %v", err)
		}
	})
}

// TestListWithoutWhatIsSomebodyElses takes the labels from a Job of this server: the others must still be told.
func TestListWithoutWhatIsSomebodyElses(t *testing.T) {
	calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
		mine, other := jobNamed("mine", 1), jobNamed("other", 1)
		must(t, r.Start(t.Context(), mine))
		must(t, r.Start(t.Context(), other))
		s.set(func() { s.changeJob(other.Name, func(j *batchv1.Job) { j.Labels = nil }) })
		time.Sleep(time.Minute)
		_, _ = r.List(t.Context())
		if names, err := r.List(t.Context()); err != nil || !slices.Equal(names, []string{mine.Name}) {
			t.Errorf("list: %v, %v", names, err)
		}
	})
}

func TestNewRefusesWrongSettings(t *testing.T) {
	if _, err := runnerkube.New(runnerkube.Options{Settings: config.Kubernetes{Kubeconfig: "testdata/none"}, Volume: "/volume"}); err == nil {
		t.Error("a kubeconfig that is not there is no error")
	}
	if _, err := runnerkube.New(runnerkube.Options{Volume: "/volume"}); err == nil || !strings.Contains(err.Error(), "kubernetes.kubeconfig") {
		t.Errorf("outside a cluster: %v", err)
	}
}
