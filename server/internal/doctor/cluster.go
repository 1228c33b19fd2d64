package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/podtoken"
	"github.com/cultivar-ml/cultivar/server/internal/runner/kubernetes"
)

const (
	// clockSlack is what a clock may be off without a word.
	clockSlack = 10 * time.Second
	// mostBehind is how far the API server's clock may be behind: a token lives for an hour and is renewed 12 minutes before
	// its end, so that from here on pods show tokens that have ended for this machine.
	mostBehind = 12 * time.Minute
	createJobs = "create jobs"
)

// cluster looks at the API server as the Kubernetes runner uses it. It asks for nothing but what the server's Role grants.
func (e *examination) cluster(ctx context.Context) []Check {
	const name = "cluster"
	c := e.Config
	bases, err := filepath.Rel(c.Volume, c.Bases)
	if err != nil {
		return []Check{failed(name, "Choose a folder of the volume in the setting bases.", "%v", err)}
	}
	client, err := kubernetes.Connect(kubernetes.Options{Settings: c.Kubernetes, Volume: c.Volume, Bases: bases})
	if err != nil {
		return []Check{failed(name, "Mend the settings under kubernetes; the server does not start with them.", "%v", err)}
	}
	ahead, err := client.Ahead(ctx)
	if err != nil {
		return []Check{failed(name, e.reach(client.Host()), "%s does not answer, so nothing else of it was checked: %v", client.Host(), cause(err))}
	}
	out := []Check{ok(name, "%s answers; trainings go to the namespace %s", client.Host(), client.Namespace()), clock(ahead)}
	rights, known, may := e.permissions(ctx, client)
	out = append(out, rights)
	if may {
		out = append(out, e.rehearsal(ctx, client))
	}
	if known {
		out = append(out, e.keys(ctx, client))
	}
	return out
}

// reach is what to do when the API server does not answer.
func (e *examination) reach(host string) string {
	if file := e.Config.Kubernetes.Kubeconfig; file != "" {
		return fmt.Sprintf("See whether this works: kubectl --kubeconfig %s get jobs", file)
	}
	return fmt.Sprintf("Let the server's pod reach %s: the network policy cultivar-server has ports 443 and 6443.", host)
}

// clock compares the clock that signs pods' tokens with the one that checks them.
func clock(ahead time.Duration) Check {
	const name = "clock"
	const remedy = "Have both machines keep time, such as with chrony or systemd-timesyncd."
	off := ahead.Abs().Round(time.Second)
	way, most := "behind", podtoken.Leeway
	if ahead < 0 {
		way, most = "ahead of", mostBehind
	}
	switch {
	case ahead.Abs() > most:
		return failed(name, remedy, "this machine is %s %s the API server, so the callbacks of trainers are refused", off, way)
	case off > clockSlack:
		return warning(name, remedy, "this machine is %s %s the API server; from %s on, callbacks are refused", off, way, config.Duration(most))
	}
	return ok(name, "within %s of the API server's", max(off, time.Second))
}

// permissions asks for every right that the runner uses. known tells that the API server knows this server, may that it
// may make Jobs.
func (e *examination) permissions(ctx context.Context, client *kubernetes.Client) (c Check, known, may bool) {
	const name = "permissions"
	var denied []string
	var unknown error
	all := client.Check(ctx)
	for _, p := range all {
		switch {
		case p.Err != nil:
			unknown = p.Err
		case !p.Allowed:
			denied = append(denied, p.What)
		case p.What == createJobs:
			may = true
		}
	}
	if apierrors.IsUnauthorized(unknown) {
		return failed(name, "Give the server another token: in the cluster its service account's, elsewhere in kubernetes.kubeconfig.", "the API server does not know this server: %v", inner(unknown)), false, false
	}
	if unknown != nil {
		return failed(name, e.reach(client.Host()), "they could not be asked for: %v", inner(unknown)), true, false
	}
	if len(denied) > 0 {
		return failed(name, "Apply the Role and the RoleBinding cultivar-server again (deploy/base/accounts.yaml), in that namespace.",
			"in the namespace %s the server may not %s", client.Namespace(), strings.Join(denied, ", ")), true, may
	}
	return ok(name, "all %d that the server needs in the namespace %s", len(all), client.Namespace()), true, may
}

// rehearsal has the API server look at a Job and make none.
func (e *examination) rehearsal(ctx context.Context, client *kubernetes.Client) Check {
	const name = "jobs"
	profile := client.Profiles()[0]
	err := client.Rehearse(ctx)
	switch {
	case err == nil:
		return ok(name, "the cluster would take a training of the size %s; whether its image, claim and machine are there, only a pod shows", profile.Name)
	case apierrors.IsNotFound(err):
		return failed(name, "Make the namespace, or mend kubernetes.namespace.", "the namespace %s is not there: %v", client.Namespace(), inner(err))
	case apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "dry run"):
		return ok(name, "not tried: %v", inner(err))
	}
	return failed(name, "See what the cluster says, and change the profile, the quota or the policy that it names.", "the cluster would not take a training of the size %s: %v", profile.Name, inner(err))
}

// keys looks whether pods' tokens can be verified.
func (e *examination) keys(ctx context.Context, client *kubernetes.Client) Check {
	const name = "token keys"
	remedy := "Let service accounts read them, as the built-in ClusterRoleBinding system:service-account-issuer-discovery does; or put them into a file and set callback.jwks_file and callback.issuer."
	var raw []byte
	var err error
	from := "the API server"
	if file := e.Config.Callback.JWKSFile; file != "" {
		from, remedy = file, "Put the cluster's keys there: kubectl get --raw /openid/v1/jwks"
		raw, err = os.ReadFile(file)
	} else {
		raw, err = client.Keys(ctx)
	}
	n := 0
	if err == nil {
		n, err = podtoken.Usable(raw)
	}
	issuer := e.Config.Callback.Issuer
	if err == nil && issuer == "" {
		issuer, err = client.Issuer(ctx)
	}
	if err != nil {
		return failed(name, remedy, "the server could not tell its trainers from others: %v", err)
	}
	return ok(name, "%s from %s, issuer %s", count(n, "key", "keys"), from, issuer)
}
