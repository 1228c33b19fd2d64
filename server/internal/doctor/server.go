package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cultivar-ml/cultivar/server/internal/config"
)

// answerPatience bounds one request to this server itself, which has nothing far away to ask.
const answerPatience = 5 * time.Second

// locked tells whether a server holds the lock of its data folder. It is asked for by trying a shared one, which two
// doctors don't deny each other, and which is given up at once: a server that starts in those microseconds finds the
// folder taken, and starts on a second try.
func locked(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // and with it the lock
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	return false, nil
}

// server tells whether one runs on the data folder, and whether it answers where the settings say.
func (e *examination) server(ctx context.Context) []Check {
	const name = "server"
	running, err := e.running()
	if err != nil {
		return []Check{failed(name, mend(err, e.Config.Data, e.serverAccount()), "nobody can tell whether one runs on %s: %s: %v", e.Config.Data, e.Lock, reason(err))}
	}
	if !running {
		return []Check{ok(name, "none runs on this data folder")}
	}
	listen := e.Config.Listen
	status, body, err := e.ready(ctx, listen)
	switch {
	case err != nil:
		return []Check{failed(name, "If it was started with other settings, give the doctor the same: --config FILE, or --data. If not, it hangs: see its log, and restart it.",
			"one runs on this data folder, but does not answer on %s: %v", listen, cause(err))}
	case status != http.StatusOK:
		return []Check{failed(name, "See its log; restart it if that does not help.", "one runs on this data folder and answers on %s, but is not ready: %s", listen, said(body, status))}
	}
	return []Check{ok(name, "one runs on this data folder and is ready on %s", listen)}
}

// ready asks the server's own health check, which answers under any name and past the proxy.
func (e *examination) ready(ctx context.Context, listen string) (status int, body []byte, err error) {
	target := url.URL{Scheme: "http", Host: "server", Path: "/readyz"}
	t := &http.Transport{DisableKeepAlives: true}
	if socket, isSocket := strings.CutPrefix(listen, "unix:"); isSocket {
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
	} else {
		target.Host = here(listen)
	}
	if e.Config.TLS.Certificate != "" {
		target.Scheme = "https"
		// The certificate is for people's name of this machine, not for this address; another check looks at it.
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	}
	return get(ctx, t, target.String())
}

// here is where this machine reaches a listener of its own: one on all addresses is reached by the nearest.
func here(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func get(ctx context.Context, t *http.Transport, target string) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return 0, nil, err
	}
	// A redirection is an answer too.
	client := http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(res.Body, 1<<12))
	return res.StatusCode, body, err
}

// said is the server's own sentence in an answer, or the answer's status.
func said(body []byte, status int) string {
	var e struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &e) == nil && e.Message != "" {
		return e.Message
	}
	return fmt.Sprintf("%d %s", status, http.StatusText(status))
}

// cause is an error without the request that it is wrapped in.
func cause(err error) error {
	var request *url.Error
	for errors.As(err, &request) {
		err = request.Err
	}
	return err
}

// callback looks at where trainers report to: its name and whether anything answers there.
func (e *examination) callback(ctx context.Context) []Check {
	const name = "callback"
	target := e.Config.Callback.URL
	if target == "" {
		if target = e.kept(); target == "" {
			return []Check{ok(name, "trainers report to a port of this machine, which the server chooses when it first starts")}
		}
	}
	u, err := url.Parse(target)
	if err != nil {
		return []Check{failed(name, "Mend callback.url.", "%v", err)}
	}
	cluster := e.Config.Runner == config.RunnerKubernetes
	if _, err := net.DefaultResolver.LookupHost(ctx, u.Hostname()); err != nil {
		if inside := cluster && e.Config.Kubernetes.Kubeconfig == ""; inside || !cluster {
			return []Check{failed(name, "Name in callback.url a service that stands before this server, such as http://cultivar-callback.NAMESPACE.svc:8081.",
				"trainers are told to report to %s, but that name is not known: %v", target, err)}
		}
		return []Check{warning(name, "Nothing, if that is a name of the cluster, which only its pods know.",
			"trainers are told to report to %s, but that name is not known on this machine: %v", target, err)}
	}
	t := &http.Transport{DisableKeepAlives: true} // without a proxy: trainers have none
	if e.Roots != nil {
		t.TLSClientConfig = &tls.Config{RootCAs: e.Roots, MinVersion: tls.VersionTLS12}
	}
	status, _, err := get(ctx, t, target)
	if err == nil && (status < http.StatusBadGateway || status > http.StatusGatewayTimeout) {
		return []Check{ok(name, "%s answers", target)}
	}
	if err == nil {
		err = fmt.Errorf("%d %s", status, http.StatusText(status))
	}
	return []Check{e.unreached(ctx, target, cause(err))}
}

// unreached tells what it means that nothing answered where trainers report to.
func (e *examination) unreached(ctx context.Context, target string, why error) Check {
	const name = "callback"
	if running, err := e.running(); err == nil && !running {
		return ok(name, "%s does not answer, and no server runs that could", target)
	}
	var untrusted x509.UnknownAuthorityError
	if errors.As(why, &untrusted) {
		return warning(name, "Let callback.url name an address with a certificate that the trainer's image trusts, or http:// within the cluster.", "%s: %v", target, why)
	}
	listen := e.Config.Callback.Listen
	if listen != "" {
		if _, _, err := get(ctx, &http.Transport{DisableKeepAlives: true}, "http://"+here(listen)); err == nil {
			return warning(name, "Where a network policy keeps the server from its own service, nothing. Else see whether the service has this server as its endpoint.",
				"the server listens on %s, but %s could not be reached from here: %v", listen, target, why)
		}
	}
	return warning(name, "See that callback.url leads to what the server listens on, callback.listen. Until then trainings go on, and their curves come late, from the volume.",
		"%s could not be reached from here: %v", target, why)
}

// kept is the callback of a server for this machine, whose port it keeps in a file; empty: there was none yet.
func (e *examination) kept() string {
	if e.Config.Callback.Listen != "" {
		return "http://" + here(e.Config.Callback.Listen)
	}
	b, err := os.ReadFile(filepath.Join(e.Config.Data, "callback.port"))
	if port := cmp.Or(strings.TrimSpace(string(b)), "0"); err == nil && port != "0" {
		return "http://" + net.JoinHostPort("127.0.0.1", port)
	}
	return ""
}
