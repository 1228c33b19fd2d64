package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/config"
)

// renewBefore is how long before its end a certificate should have been renewed: what renews it begins weeks before.
const renewBefore = 14 * 24 * time.Hour

// settings says which settings are in force, and which of them an admin may not have meant. They were resolved, so none is
// unusable.
func (e *examination) settings(context.Context) []Check {
	c := e.Config
	names := "" // over a socket there is none
	if !strings.HasPrefix(c.Listen, "unix:") {
		names = ", answers to " + cmp.Or(strings.Join(c.Hosts, ", "), "any name")
	}
	out := []Check{e.program(), ok("settings", "%s: runner %s, listens on %s%s", cmp.Or(e.File, "no file, so the defaults"), c.Runner, c.Listen, names)}
	hint := func(remedy, text string, args ...any) { out = append(out, warning("settings", remedy, text, args...)) }
	if c.Shared() && len(c.Hosts) == 0 {
		hint("Set hosts to the names that people use, such as [cultivar.example.org].",
			"hosts is empty, so the server answers under any name, also one that somebody points at it to reach it through a browser")
	}
	if u, err := url.Parse(c.Deliver.PublicURL); err == nil && c.Deliver.PublicURL != "" && len(c.Hosts) > 0 &&
		!slices.ContainsFunc(c.Hosts, func(h string) bool { return strings.EqualFold(strings.Trim(h, "[]"), u.Hostname()) }) {
		hint("Add that name to hosts, or mend deliver.public_url.",
			"deliver.public_url sends people to %s, a name that hosts does not have, so they would be refused", u.Hostname())
	}
	if c.Shared() && c.IdleExit > 0 {
		hint("Leave idle_exit out: it is for servers that a program starts when it needs one.",
			"idle_exit ends this server after %s without a request, and nothing starts it again", c.IdleExit)
	}
	if c.Runner == config.RunnerKubernetes {
		out = append(out, kubernetesHints(c.Kubernetes)...)
	}
	if c.TLS.Certificate != "" {
		out = append(out, certificate(c.TLS, time.Now()))
	}
	return out
}

func kubernetesHints(k config.Kubernetes) []Check {
	var out []Check
	if len(k.Profiles) == 0 {
		out = append(out, warning("settings", "List sizes under kubernetes.profiles; the first is for those who choose none.",
			"kubernetes.profiles is empty, so every training gets 2 cores, 4 GiB and at most 24 h, and nobody can choose another size"))
	}
	name := k.Image[strings.LastIndexByte(k.Image, '/')+1:]
	if !strings.Contains(name, "@") && (!strings.Contains(name, ":") || strings.HasSuffix(name, ":latest")) {
		out = append(out, warning("settings", "Name the image with its digest, IMAGE@sha256:…, or with a release's tag.",
			"kubernetes.image is %s, which can be another image tomorrow than the one that fits this server", k.Image))
	}
	return out
}

// certificate looks at what the server shows to others.
func certificate(t config.TLS, now time.Time) Check {
	const name = "certificate"
	pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
	if err != nil {
		return failed(name, "Put a certificate chain and its key, both PEM, where tls.certificate and tls.key say, readable by the server's account.", "%s: %v", t.Certificate, err)
	}
	const renew = "Renew it. The server takes the new files without a restart."
	first, last, left := pair.Leaf.NotBefore, pair.Leaf.NotAfter, pair.Leaf.NotAfter.Sub(now)
	switch {
	case left <= 0:
		return failed(name, renew, "%s ended on %s, so nobody's program connects", t.Certificate, last.Format(time.DateOnly))
	case now.Before(first):
		return failed(name, "Set this machine's clock, or make a certificate that is good already.", "%s is good from %s only", t.Certificate, first.Format(time.DateTime))
	case left < renewBefore:
		return warning(name, renew, "%s ends on %s", t.Certificate, last.Format(time.DateOnly))
	}
	return ok(name, "%s is good until %s, for %s", t.Certificate, last.Format(time.DateOnly), cmp.Or(strings.Join(pair.Leaf.DNSNames, ", "), "no name"))
}

// Unusable is what is left to say when the settings cannot be used: each thing that is wrong with them.
func Unusable(err error) []Check {
	var out []Check
	for line := range strings.Lines(err.Error()) {
		out = append(out, failed("settings", "Mend it, and run the doctor again: without settings nothing else can be looked at.", "%s", line).plain())
	}
	return out
}
