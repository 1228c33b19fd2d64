package config

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
)

// Abilities are what people may ask of a server with these settings. Whether it can share and mail is for the caller to
// add.
func (c Config) Abilities() api.Abilities {
	a := api.Abilities{Runner: api.RunnerLocal, Profiles: []api.Profile{}}
	if c.Runner != RunnerKubernetes {
		return a
	}
	a.Runner = api.RunnerKubernetes
	for _, p := range c.Kubernetes.Profiles {
		a.Profiles = append(a.Profiles, api.Profile{Name: p.Name, Description: cmp.Or(p.Description, p.describe())})
	}
	return a
}

// describe is a machine size in words, such as "2 cores, 4 GiB, at most 24 h".
func (p Profile) describe() string {
	cpu := cmp.Or(p.CPU, "2")
	words := []string{cpu + " cores"}
	if milli, ok := strings.CutSuffix(cpu, "m"); ok {
		words[0] = milli + "/1000 core"
	} else if cpu == "1" {
		words[0] = "1 core"
	}
	words = append(words, quantity(cmp.Or(p.Memory, "4Gi")))
	switch {
	case p.GPUs == 1:
		words = append(words, "1 GPU")
	case p.GPUs > 1:
		words = append(words, fmt.Sprintf("%d GPUs", p.GPUs))
	}
	return strings.Join(append(words, "at most "+span(cmp.Or(time.Duration(p.Deadline), 24*time.Hour))), ", ")
}

// quantity writes a Kubernetes quantity of bytes as people do: 4Gi is 4 GiB.
func quantity(q string) string {
	for _, unit := range []string{"Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T"} {
		if n, ok := strings.CutSuffix(q, unit); ok {
			return n + " " + unit + "B"
		}
	}
	return q + " B"
}

func span(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return d.String()
}
