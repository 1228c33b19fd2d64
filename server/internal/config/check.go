package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// minFeatures are the activations of some thousand photos.
const minFeatures = 1 << 30

// Shared tells whether people of other machines are served, so that callers show tokens of their own. Otherwise the server
// belongs to one account of this machine.
func (c Config) Shared() bool { return c.TLS.Certificate != "" || c.TLS.TerminatedByProxy }

// check refuses settings that are unsafe or contradict each other. All that is wrong is told at once.
func (c Config) check() error {
	return errors.Join(checkListen(c.Listen, c.Shared()), c.checkTLS(), c.checkRunner(), c.checkCallback(), c.checkHosts(), c.checkDeliver())
}

// checkListen refuses an address that other machines reach while nothing encrypts: tokens would cross the network in the
// clear.
func checkListen(listen string, shared bool) error {
	if p, ok := strings.CutPrefix(listen, "unix:"); ok {
		switch {
		case !filepath.IsAbs(p):
			return fmt.Errorf("listen is %s, but a socket's path must be absolute", listen)
		case shared:
			return fmt.Errorf("listen is %s, but tls is for connections from elsewhere: listen on HOST:PORT, or leave tls out", listen)
		}
		return nil
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("listen is %q: give unix:PATH or HOST:PORT, such as 127.0.0.1:8080", listen)
	}
	if !loopback(host) && !shared {
		return fmt.Errorf("listen is %s: other machines could reach that address without encryption. Set tls.certificate and tls.key, or tls.terminated_by_proxy with tls.trusted_proxies; or listen on 127.0.0.1 or a unix socket, and come over ssh", listen)
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (c Config) checkTLS() error {
	t := c.TLS
	var errs []error
	if (t.Certificate == "") != (t.Key == "") {
		errs = append(errs, errors.New("tls.certificate and tls.key belong together, but only one of them is set: set both, or neither"))
	}
	if t.TerminatedByProxy && t.Certificate != "" {
		errs = append(errs, errors.New("tls.terminated_by_proxy and tls.certificate are both set, but either the proxy decrypts or this server: leave one out"))
	}
	if t.TerminatedByProxy && len(t.TrustedProxies) == 0 {
		errs = append(errs, errors.New("tls.terminated_by_proxy is set without tls.trusted_proxies, so anybody could pass for the proxy: list its networks, such as 10.0.0.0/8"))
	}
	if !t.TerminatedByProxy && len(t.TrustedProxies) > 0 {
		errs = append(errs, errors.New("tls.trusted_proxies is set, but has a meaning only with tls.terminated_by_proxy: true"))
	}
	if _, err := t.Proxies(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Proxies are the networks that requests may come from; none when no proxy terminates TLS.
func (t TLS) Proxies() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range t.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("tls.trusted_proxies has %q, which is no network: write it as 10.0.0.0/8, a single address as 10.1.2.3/32", text)
		}
		if p.Bits() == 0 {
			return nil, fmt.Errorf("tls.trusted_proxies has %s, which is everybody: name the networks that the proxy is in", text)
		}
		if p.Addr().Is4In6() {
			return nil, fmt.Errorf("tls.trusted_proxies has %s: write an IPv4 network in its own form, such as 10.0.0.0/8", text)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func (c Config) checkRunner() error {
	var errs []error
	if c.Slots < 1 {
		errs = append(errs, fmt.Errorf("slots is %d, but must be at least 1", c.Slots))
	}
	if c.Features < minFeatures {
		errs = append(errs, fmt.Errorf("features is %s, but fine-tuning needs at least %s", c.Features, Size(minFeatures)))
	}
	if c.IdleExit < 0 {
		errs = append(errs, fmt.Errorf("idle_exit is %s, but cannot be negative; 0 means never", c.IdleExit))
	}
	if c.ScaleOut.Images < 0 || c.ScaleOut.Parts < 0 {
		errs = append(errs, errors.New("scale_out.images and scale_out.parts cannot be negative; 0 images means never"))
	}
	switch c.Runner {
	case RunnerLocal:
		if c.ScaleOut.Images > 0 {
			errs = append(errs, errors.New("scale_out is set, but the local runner has one machine only: leave it out, or set runner: kubernetes"))
		}
	case RunnerKubernetes:
		errs = append(errs, c.checkKubernetes())
	default:
		errs = append(errs, fmt.Errorf("runner is %q, but there are two: %s and %s", c.Runner, RunnerLocal, RunnerKubernetes))
	}
	return errors.Join(errs...)
}

func (c Config) checkKubernetes() error {
	var errs []error
	k := c.Kubernetes
	if k.Image == "" {
		errs = append(errs, errors.New("kubernetes.image is empty, so no trainer can start: name the trainer's image, best with its digest, here or in $CULTIVAR_TRAINER_IMAGE"))
	}
	if k.Claim == "" {
		errs = append(errs, errors.New("kubernetes.claim is empty, so trainers would have no data: name the ReadWriteMany claim that is mounted at the volume's folder"))
	}
	if rel, err := filepath.Rel(c.Volume, c.Bases); err != nil || !filepath.IsLocal(rel) || rel == "." {
		errs = append(errs, fmt.Errorf("bases is %s, but pods see the volume only: choose a folder below %s", c.Bases, c.Volume))
	}
	var names []string
	for i, p := range k.Profiles {
		if p.Name == "" || slices.Contains(names, p.Name) {
			errs = append(errs, fmt.Errorf("kubernetes.profiles[%d].name is %q, but each needs a name of its own, for people choose by it", i, p.Name))
		}
		names = append(names, p.Name)
	}
	return errors.Join(errs...)
}

func (c Config) checkCallback() error {
	var errs []error
	if c.Callback.Listen != "" {
		host, _, err := net.SplitHostPort(c.Callback.Listen)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("callback.listen is %q: give HOST:PORT, such as 0.0.0.0:8081", c.Callback.Listen))
		case c.Runner == RunnerLocal && !loopback(host):
			errs = append(errs, fmt.Errorf("callback.listen is %s, but local trainers report from this machine: listen on 127.0.0.1, or leave it out", c.Callback.Listen))
		}
	}
	if u, err := url.Parse(c.Callback.URL); c.Callback.URL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		errs = append(errs, fmt.Errorf("callback.url is %q: give a URL by which trainers reach the callback, such as http://cultivar-callback.cultivar.svc:8081", c.Callback.URL))
	}
	if c.Runner == RunnerKubernetes && c.Callback.URL == "" {
		errs = append(errs, errors.New("callback.url is empty, but pods cannot guess where the server is: give the URL of its service, such as http://cultivar-callback.cultivar.svc:8081"))
	}
	return errors.Join(errs...)
}

func (c Config) checkHosts() error {
	for _, h := range c.Hosts {
		if h == "" || strings.ContainsAny(h, "/ ") || net.ParseIP(strings.Trim(h, "[]")) == nil && strings.Contains(h, ":") {
			return fmt.Errorf("hosts has %q: give names without scheme and port, such as cultivar.example.org", h)
		}
	}
	return nil
}

func (c Config) checkDeliver() error {
	var errs []error
	if d := c.Deliver.Dropbox; d != nil {
		errs = append(errs, given("deliver.dropbox", "app_key", d.AppKey, "app_secret_file", d.AppSecretFile, "refresh_token_file", d.RefreshTokenFile))
	}
	if m := c.Deliver.Mail; m != nil {
		errs = append(errs, given("deliver.mail", "from", m.From))
		if (m.SMTP == nil) == (m.SendGridFile == "") {
			errs = append(errs, errors.New("deliver.mail needs one way to send: set either smtp or sendgrid_key_file"))
		}
		if m.SMTP != nil {
			errs = append(errs, given("deliver.mail.smtp", "host", m.SMTP.Host))
		}
	}
	return errors.Join(errs...)
}

// given refuses keys of a section that are needed and empty; pairs are a key and its value.
func given(section string, pairs ...string) error {
	var missing []string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			missing = append(missing, section+"."+pairs[i])
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s is there, but %s is empty: set it, or leave the section out", section, strings.Join(missing, " and "))
	}
	return nil
}
