package kubernetes

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validate/content"

	"github.com/cultivar-ml/cultivar/server/internal/config"
)

// Defaults of the settings.
const (
	defaultInstance         = "default"
	defaultServiceAccount   = "cultivar-trainer"
	defaultProfile          = "standard"
	defaultGPU              = "nvidia.com/gpu"
	defaultDeadline         = 24 * time.Hour
	defaultPullPatience     = 5 * time.Minute
	defaultSchedulePatience = 30 * time.Minute
)

// Cluster is all that Build needs to know beside the job: settings that were checked, with their defaults filled in.
type Cluster struct {
	Namespace      string
	Instance       string
	Image          string
	PullPolicy     corev1.PullPolicy
	PullSecrets    []string
	ServiceAccount string
	Claim          string
	ClaimPath      string // without slashes at its ends; empty: the claim's root
	Volume         string // absolute path of the shared volume, the same for the server and in every pod
	Bases          string // folder on the volume with the base weights; empty: the image has them
	Queue          string
	Profiles       []Profile // at least one

	PullPatience     time.Duration
	SchedulePatience time.Duration

	endPatience int64 // seconds between SIGTERM and SIGKILL
}

// Profile is a machine size with its quantities read.
type Profile struct {
	Name         string
	CPU          resource.Quantity
	Memory       resource.Quantity
	Scratch      resource.Quantity
	GPUs         int64
	GPUResource  corev1.ResourceName
	Deadline     time.Duration
	NodeSelector map[string]string
	Tolerations  []string
	Priority     string
	Image        string // empty: the cluster's
}

// Resolve checks settings and fills in their defaults, except for the namespace, which must be known. The error names
// every setting that cannot be used, so that a server with wrong ones does not start.
func Resolve(s config.Kubernetes, volume, bases string) (Cluster, error) {
	c := Cluster{
		Namespace: s.Namespace, Instance: cmp.Or(s.Instance, defaultInstance), Image: s.Image,
		PullPolicy:  corev1.PullPolicy(cmp.Or(s.PullPolicy, string(corev1.PullIfNotPresent))),
		PullSecrets: slices.Clone(s.PullSecrets), ServiceAccount: cmp.Or(s.ServiceAccount, defaultServiceAccount),
		Claim: s.Claim, ClaimPath: strings.Trim(s.ClaimPath, "/"), Volume: path.Clean(volume), Bases: bases, Queue: s.Queue,
		PullPatience:     cmp.Or(time.Duration(s.PullPatience), defaultPullPatience),
		SchedulePatience: cmp.Or(time.Duration(s.SchedulePatience), defaultSchedulePatience),
		endPatience:      endPatience,
	}
	var p problems
	p.names("namespace", content.IsDNS1123Label, c.Namespace)
	p.names("instance", content.IsLabelValue, c.Instance)
	p.image("image", c.Image)
	p.names("pull_secrets", content.IsDNS1123Subdomain, c.PullSecrets...)
	p.names("service_account", content.IsDNS1123Subdomain, c.ServiceAccount)
	p.names("claim", content.IsDNS1123Subdomain, c.Claim)
	p.check(c.ClaimPath == "" || local(c.ClaimPath), "claim_path", c.ClaimPath, "must be a plain path within the claim")
	p.check(path.IsAbs(volume) && !strings.Contains(volume, ":"), "the volume's folder", volume, "must be an absolute path without a colon")
	p.check(bases == "" || local(bases), "the bases' folder", bases, "must be a plain path within the volume")
	p.names("queue", content.IsLabelValue, c.Queue)
	p.check(slices.Contains([]corev1.PullPolicy{corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever}, c.PullPolicy),
		"pull_policy", s.PullPolicy, "must be Always, IfNotPresent or Never")
	p.check(c.PullPatience > 0 && c.SchedulePatience > 0, "pull_patience and schedule_patience", "", "must be positive")
	profiles := s.Profiles
	if len(profiles) == 0 {
		profiles = []config.Profile{{Name: defaultProfile}}
	}
	seen := map[string]bool{}
	for i, sp := range profiles {
		where := fmt.Sprintf("profiles[%d].", i)
		p.names(where+"name", content.IsDNS1123Label, sp.Name)
		p.check(!seen[sp.Name], where+"name", sp.Name, "is there twice")
		seen[sp.Name] = true
		c.Profiles = append(c.Profiles, p.profile(where, sp))
	}
	return c, p.err()
}

// Profile returns the machine size of that name; an empty name means the first.
func (c Cluster) Profile(name string) (Profile, error) {
	if name == "" {
		return c.Profiles[0], nil
	}
	for _, p := range c.Profiles {
		if p.Name == name {
			return p, nil
		}
	}
	return Profile{}, fmt.Errorf("there is no profile %q in the settings any more", name)
}

// problems gathers what is wrong with settings.
type problems []error

func (p *problems) err() error {
	if len(*p) == 0 {
		return nil
	}
	return fmt.Errorf("kubernetes settings: %w", errors.Join(*p...))
}

func (p *problems) check(ok bool, setting, value, what string) {
	if !ok {
		*p = append(*p, fmt.Errorf("%s %q %s", setting, value, what))
	}
}

func (p *problems) names(setting string, valid func(string) []string, values ...string) {
	for _, v := range values {
		if msgs := valid(v); len(msgs) > 0 {
			p.check(false, setting, v, "cannot be used: "+msgs[0])
		}
	}
}

func (p *problems) image(setting, value string) {
	p.check(value != "" && !strings.ContainsAny(value, " \t\n"), setting, value, "must name an image")
}

func (p *problems) quantity(setting, value, fallback string) resource.Quantity {
	q, err := resource.ParseQuantity(cmp.Or(value, fallback))
	p.check(err == nil && q.Sign() > 0, setting, value, `must be a positive quantity such as "2" or "4Gi"`)
	return q
}

func (p *problems) profile(where string, s config.Profile) Profile {
	out := Profile{
		Name:    s.Name,
		CPU:     p.quantity(where+"cpu", s.CPU, "2"),
		Memory:  p.quantity(where+"memory", s.Memory, "4Gi"),
		Scratch: p.quantity(where+"scratch", s.Scratch, "2Gi"),
		GPUs:    int64(s.GPUs), GPUResource: corev1.ResourceName(cmp.Or(s.GPUResource, defaultGPU)),
		Deadline:     cmp.Or(time.Duration(s.Deadline), defaultDeadline),
		NodeSelector: maps.Clone(s.NodeSelector), Tolerations: slices.Clone(s.Tolerations), Priority: s.Priority, Image: s.Image,
	}
	p.check(s.GPUs >= 0, where+"gpus", fmt.Sprint(s.GPUs), "must not be negative")
	p.check(out.Deadline >= time.Second, where+"deadline", out.Deadline.String(), "must be a second at least")
	p.names(where+"gpu_resource", content.IsLabelKey, string(out.GPUResource))
	for k, v := range s.NodeSelector {
		p.names(where+"node_selector", content.IsLabelKey, k)
		p.names(where+"node_selector", content.IsLabelValue, v)
	}
	p.names(where+"tolerations", content.IsLabelKey, s.Tolerations...)
	if s.Priority != "" {
		p.names(where+"priority", content.IsDNS1123Subdomain, s.Priority)
	}
	if s.Image != "" {
		p.image(where+"image", s.Image)
	}
	return out
}

// local tells whether a slash-separated name stays below the folder it is relative to.
func local(name string) bool {
	return name != "" && !path.IsAbs(name) && path.Clean(name) == name && name != "." && name != ".." &&
		!strings.HasPrefix(name, "../") && !strings.ContainsAny(name, ":\\\x00")
}
