package config

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"go.yaml.in/yaml/v3"
)

// Kubernetes says how attempts become Jobs. Its zero value, with an image and a claim, is usable inside a cluster.
type Kubernetes struct {
	Kubeconfig     string    `yaml:"kubeconfig"`      // path; empty: the service account of the pod this runs in
	Namespace      string    `yaml:"namespace"`       // of the Jobs; default: the one this runs in
	Instance       string    `yaml:"instance"`        // tells the Jobs of several servers in one namespace apart; default "default"
	Image          string    `yaml:"image"`           // the trainer's, best with its digest; default $CULTIVAR_TRAINER_IMAGE
	PullPolicy     string    `yaml:"pull_policy"`     // Always, IfNotPresent, Never; default IfNotPresent
	PullSecrets    []string  `yaml:"pull_secrets"`    // names of Secrets for the image's registry
	ServiceAccount string    `yaml:"service_account"` // the trainers'; it needs no rights; default "cultivar-trainer"
	Claim          string    `yaml:"claim"`           // name of the ReadWriteMany claim with the shared volume
	ClaimPath      string    `yaml:"claim_path"`      // folder within the claim that is the volume's root; default: the claim's root
	Queue          string    `yaml:"queue"`           // Kueue's LocalQueue; empty: no Kueue
	Profiles       []Profile `yaml:"profiles"`        // machine sizes people may choose; the first is the default one

	PullPatience     Duration `yaml:"pull_patience"`     // how long an image or a volume may take to come; default 5m
	SchedulePatience Duration `yaml:"schedule_patience"` // how long a Job may wait for a machine; default 30m
}

// Profile is a machine size, as an admin allows it. People choose one by name and set nothing of a pod themselves.
type Profile struct {
	Name         string            `yaml:"name"`        // letters, digits and dashes
	Description  string            `yaml:"description"` // a few words; default: made from the rest
	CPU          string            `yaml:"cpu"`         // Kubernetes quantity, such as "2"; default "2"
	Memory       string            `yaml:"memory"`      // request and limit; default "4Gi"
	Scratch      string            `yaml:"scratch"`     // limit of the temporary folder; default "2Gi"
	GPUs         int               `yaml:"gpus"`
	GPUResource  string            `yaml:"gpu_resource"` // default "nvidia.com/gpu"
	Deadline     Duration          `yaml:"deadline"`     // longest attempt; default 24h
	NodeSelector map[string]string `yaml:"node_selector"`
	Tolerations  []string          `yaml:"tolerations"` // keys of taints to tolerate, whatever their value and effect
	Priority     string            `yaml:"priority"`    // name of a PriorityClass
	Image        string            `yaml:"image"`       // instead of Kubernetes.Image, such as the one with CUDA
}

// ScaleOut says when the feature pass of a big dataset is divided between several pods.
type ScaleOut struct {
	Images int `yaml:"images"` // from so many images on; 0: never
	Parts  int `yaml:"parts"`  // so many pods; default 4
}

// Callback is the listener that trainers report to. On Kubernetes it speaks plain HTTP, and may listen on any address:
// what it takes is bound to one pod and one attempt by a token that opens nothing else and ends within the hour, and a
// network policy keeps everyone but trainers away from the port.
type Callback struct {
	Listen   string `yaml:"listen"`    // "HOST:PORT"; default: a port on 127.0.0.1 that is kept; on Kubernetes ":8081"
	URL      string `yaml:"url"`       // by which trainers reach it; default: the listener's address
	JWKSFile string `yaml:"jwks_file"` // the cluster's token keys, where the API server does not give them to service accounts
	Issuer   string `yaml:"issuer"`    // of the tokens; default: what the API server says
}

// TLS says how connections from elsewhere are encrypted.
type TLS struct {
	Certificate       string   `yaml:"certificate"` // path, PEM
	Key               string   `yaml:"key"`         // path, PEM
	TerminatedByProxy bool     `yaml:"terminated_by_proxy"`
	TrustedProxies    []string `yaml:"trusted_proxies"` // CIDRs that requests may come from when a proxy terminates TLS
}

// Deliver says how results reach people. Without Dropbox there are no links, without Mail no mails.
type Deliver struct {
	PublicURL string   `yaml:"public_url"` // of this server, named in mails; may be empty
	Dropbox   *Dropbox `yaml:"dropbox"`
	Mail      *Mail    `yaml:"mail"`
}

// Dropbox is the account that models are put into. Secrets are read from files, which a Secret can be mounted as.
type Dropbox struct {
	AppKey           string   `yaml:"app_key"`
	AppSecretFile    string   `yaml:"app_secret_file"`
	RefreshTokenFile string   `yaml:"refresh_token_file"`
	Folder           string   `yaml:"folder"`      // in the account; default "/cultivar"
	LinkExpiry       Duration `yaml:"link_expiry"` // 0: links don't end
	APIURL           string   `yaml:"api_url"`     // instead of Dropbox's hosts, for tests and proxies; empty: Dropbox
}

// Mail is how mails are sent: by SMTP or by SendGrid.
type Mail struct {
	From         string `yaml:"from"` // address, or "Name <address>"
	SMTP         *SMTP  `yaml:"smtp"`
	SendGridFile string `yaml:"sendgrid_key_file"` // file with the API key
	SendGridURL  string `yaml:"sendgrid_url"`      // instead of SendGrid's host, for tests and proxies
}

// SMTP is a mail server.
type SMTP struct {
	Host         string `yaml:"host"`
	Port         int    `yaml:"port"` // default 587, with tls: implicit 465
	TLS          string `yaml:"tls"`  // starttls (default), implicit, none (refused with a user name unless the host is this machine)
	User         string `yaml:"user"` // empty: no login
	PasswordFile string `yaml:"password_file"`
}

// Size is a number of bytes written as 16GiB or 500GB.
type Size int64

// UnmarshalYAML reads what humanize.ParseBytes reads.
func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	v, err := humanize.ParseBytes(n.Value)
	if err != nil || n.Kind != yaml.ScalarNode || v > math.MaxInt64 {
		return fmt.Errorf("line %d: %q is no size; write it as 16GiB or 500GB", n.Line, n.Value)
	}
	*s = Size(v)
	return nil
}

// MarshalText writes the size.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String is the size as people write it.
func (s Size) String() string { return strings.ReplaceAll(humanize.IBytes(uint64(max(0, s))), " ", "") }

// Duration is a time span written as 90s, 15m or 24h.
type Duration time.Duration

// UnmarshalYAML reads what time.ParseDuration reads.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil || n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: %q is no time span; write it as 90s, 15m or 24h", n.Line, n.Value)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the span.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is the span as people write it: 24h rather than 24h0m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if short, ok := strings.CutSuffix(s, "m0s"); ok {
		s = short + "m"
	}
	if short, ok := strings.CutSuffix(s, "h0m"); ok {
		s = short + "h"
	}
	return s
}
