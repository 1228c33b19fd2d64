package doctor_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/doctor"
)

// apiServer answers what the doctor may ask of a cluster, and nothing else.
type apiServer struct {
	*testing.T
	denied     []string
	ahead      time.Duration // of its clock
	rejects    bool          // who asks
	keys       string        // instead of good ones
	refuseJobs string        // a status that answers Jobs
	jobs       int
}

// goodKeys is a set with one key of P-256, the curve's base point.
const goodKeys = `{"keys":[{"kty":"EC","crv":"P-256","kid":"one","use":"sig","alg":"ES256","x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}]}`

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", time.Now().Add(a.ahead).UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Type", "application/json")
	sent, err := io.ReadAll(r.Body)
	must(a, err)
	var body runtime.Object // what is sent is protobuf
	if len(sent) > 0 {
		body, _, err = scheme.Codecs.UniversalDeserializer().Decode(sent, nil, nil)
		must(a, err)
	}
	answer := func(status int, v any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	switch {
	case a.rejects:
		answer(401, json.RawMessage(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unauthorized","message":"Unauthorized","code":401}`))
	case r.URL.Path == "/openid/v1/jwks":
		keys := a.keys
		if keys == "" {
			keys = goodKeys
		}
		answer(200, json.RawMessage(keys))
	case r.URL.Path == "/.well-known/openid-configuration":
		answer(200, map[string]string{"issuer": "https://kubernetes.default.svc"})
	case r.URL.Path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
		review := body.(*authorizationv1.SelfSubjectAccessReview)
		what := review.Spec.ResourceAttributes
		if what.Namespace != "cultivar" {
			a.Errorf("asked for rights in %q", what.Namespace)
		}
		review.Status.Allowed = !slices.Contains(a.denied, what.Verb+" "+what.Resource)
		answer(201, review)
	case r.Method == http.MethodPost && r.URL.Path == "/apis/batch/v1/namespaces/cultivar/jobs":
		if r.URL.Query().Get("dryRun") != "All" {
			a.Errorf("a Job was made: %s", r.URL)
		}
		a.jobs++
		if a.refuseJobs != "" {
			var status struct{ Code int }
			_ = json.Unmarshal([]byte(a.refuseJobs), &status)
			answer(status.Code, json.RawMessage(a.refuseJobs))
			return
		}
		answer(201, body)
	default:
		a.Errorf("asked for %s %s", r.Method, r.URL)
		answer(404, map[string]any{})
	}
}

// onCluster moves an installation to Kubernetes. Its API server is the one given.
func onCluster(i *installation, a *apiServer, change func(*config.Config)) {
	i.Helper()
	s := httptest.NewServer(a)
	i.Cleanup(s.Close)
	c := config.Config{
		Data: i.Config.Data, Volume: i.dir, Bases: i.Config.Bases, Listen: i.Config.Listen, Runner: config.RunnerKubernetes,
		Callback: config.Callback{Listen: "127.0.0.1:1", URL: i.callback()},
		Kubernetes: config.Kubernetes{
			Kubeconfig: kubeconfig(i, s.URL), Namespace: "cultivar", Image: "registry.example.org/cultivar-trainer:v1.2.3", Claim: "cultivar-volume",
			Profiles: []config.Profile{{Name: "standard"}},
		},
	}
	if change != nil {
		change(&c)
	}
	i.settle(c)
}

func kubeconfig(i *installation, url string) string {
	return write(i, filepath.Join(i.dir, "kubeconfig"), fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {token: canary-kube-token}}]
current-context: c
`, url), 0o600)
}

func TestCluster(t *testing.T) {
	status := func(code int, reason, message string) string {
		b, _ := json.Marshal(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code})
		return string(b)
	}
	for _, c := range []struct {
		name         string
		api          apiServer
		change       func(*config.Config)
		check        string
		state        doctor.State
		text, remedy string
		jobs         int
	}{
		{name: "good", check: "cluster", state: doctor.OK, text: "answers; trainings go to the namespace cultivar", jobs: 1},
		{name: "good rights", check: "permissions", state: doctor.OK, text: "all 10 that the server needs", jobs: 1},
		{name: "good Job", check: "jobs", state: doctor.OK, text: "would take a training of the size standard", jobs: 1},
		{name: "good keys", check: "token keys", state: doctor.OK, text: "1 key from the API server, issuer https://kubernetes.default.svc", jobs: 1},
		{
			name: "away", change: func(c *config.Config) { c.Kubernetes.Kubeconfig += "-away" },
			check: "cluster", state: doctor.Failed, text: "http://127.0.0.1:1 does not answer, so nothing else of it was checked: dial tcp 127.0.0.1:1", remedy: "kubectl --kubeconfig",
		},
		{
			name: "wrong settings", change: func(c *config.Config) { c.Kubernetes.Profiles[0].Memory = "much" },
			check: "cluster", state: doctor.Failed, text: `profiles[0].memory "much" must be a positive quantity`, remedy: "settings under kubernetes",
		},
		{
			name: "no kubeconfig", change: func(c *config.Config) { c.Kubernetes.Kubeconfig = "/not/there" },
			check: "cluster", state: doctor.Failed, text: "/not/there", remedy: "settings under kubernetes",
		},
		{name: "not known", api: apiServer{rejects: true}, check: "permissions", state: doctor.Failed, text: "does not know this server", remedy: "another token"},
		{
			name: "may not delete and watch", api: apiServer{denied: []string{"delete jobs", "watch pods"}},
			check: "permissions", state: doctor.Failed, text: "in the namespace cultivar the server may not delete jobs, watch pods", remedy: "RoleBinding", jobs: 1,
		},
		{name: "may not create", api: apiServer{denied: []string{"create jobs"}}, check: "permissions", state: doctor.Failed, text: "create jobs", remedy: "RoleBinding"},
		{
			name: "no namespace", api: apiServer{refuseJobs: status(404, "NotFound", `namespaces "cultivar" not found`)},
			check: "jobs", state: doctor.Failed, text: "the namespace cultivar is not there", remedy: "kubernetes.namespace", jobs: 1,
		},
		{
			name: "quota", api: apiServer{refuseJobs: status(403, "Forbidden", "exceeded quota: cultivar, used: count/jobs.batch=500\x1b[31m")},
			check: "jobs", state: doctor.Failed, text: "count/jobs.batch=500␛[31m", remedy: "the quota", jobs: 1,
		},
		{
			name: "a webhook that knows no dry run", api: apiServer{refuseJobs: status(400, "BadRequest", `admission webhook "x" does not support dry run`)},
			check: "jobs", state: doctor.OK, text: "not tried", jobs: 1,
		},
		{name: "no usable key", api: apiServer{keys: `{"keys":[{"kid":"one"}]}`}, check: "token keys", state: doctor.Failed, text: "no usable key", remedy: "issuer-discovery", jobs: 1},
		{
			name: "keys of a file that is not there", change: func(c *config.Config) { c.Callback.JWKSFile = "/not/there.json" },
			check: "token keys", state: doctor.Failed, text: "open /not/there.json", remedy: "kubectl get --raw", jobs: 1,
		},
		{name: "behind", api: apiServer{ahead: 40 * time.Second}, check: "clock", state: doctor.Failed, text: "behind the API server, so the callbacks of trainers are refused", remedy: "chrony", jobs: 1},
		{name: "a little behind", api: apiServer{ahead: 20 * time.Second}, check: "clock", state: doctor.Warning, text: "from 30s on", remedy: "chrony", jobs: 1},
		{name: "ahead", api: apiServer{ahead: -time.Minute}, check: "clock", state: doctor.Warning, text: "ahead of the API server; from 12m on", remedy: "chrony", jobs: 1},
		{name: "far ahead", api: apiServer{ahead: -time.Hour}, check: "clock", state: doctor.Failed, text: "ahead of", remedy: "chrony", jobs: 1},
		{name: "same time", check: "clock", state: doctor.OK, text: "within ", jobs: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := install(t)
			c.api.T = t
			onCluster(i, &c.api, c.change)
			if strings.HasSuffix(i.Config.Kubernetes.Kubeconfig, "-away") {
				i.Config.Kubernetes.Kubeconfig = kubeconfig(i, "http://127.0.0.1:1")
			}
			expect(t, one(t, doctor.Look(t, i.Options, "cluster"), c.check), c.state, c.text, c.remedy)
			if c.api.jobs != c.jobs {
				t.Errorf("%d Jobs were tried, want %d", c.api.jobs, c.jobs)
			}
		})
	}
}
