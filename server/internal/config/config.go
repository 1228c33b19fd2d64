// Package config says where things are and how the server runs: one struct, read from a file, whose defaults are found
// from the environment and from where the binary stands. It opens nothing but that file.
package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// maxSocketPath is below the 104 bytes that macOS allows a socket's path to have; Linux allows 108.
const maxSocketPath = 100

// The values of Config.Runner.
const (
	RunnerLocal      = "local"
	RunnerKubernetes = "kubernetes"
)

// Config is a server's settings. Secrets are in none of them: where one is needed, they name the file it is in.
type Config struct {
	Data     string   `yaml:"data"`   // folder for the database and all that is the server's own, on a local disk; default $CULTIVAR_DATA, else the user's data folder
	Volume   string   `yaml:"volume"` // folder that server and trainers share; default "volume" in Data
	Listen   string   `yaml:"listen"` // "unix:PATH" or "HOST:PORT"; default a socket in Data; an address that others reach needs TLS
	Hosts    []string `yaml:"hosts"`  // names that the server answers to, without port; empty: any, on a loopback port only this machine's own
	TLS      TLS      `yaml:"tls"`
	Trainer  string   `yaml:"trainer"`   // path of the trainer's binary, for the local runner; default cultivar-trainer beside this binary
	Bases    string   `yaml:"bases"`     // folder of base models; default $CULTIVAR_BASES, else the first that exists; on Kubernetes a folder of the volume
	IdleExit Duration `yaml:"idle_exit"` // leave after so long without a request or an active task; 0: never
	Slots    int      `yaml:"slots"`     // trainings at once, with the local runner; default 1
	Runner   string   `yaml:"runner"`    // "local": processes of this machine; "kubernetes": Jobs of a cluster; default local
	Quota    Size     `yaml:"quota"`     // how many bytes of photos one user may have; 0, the default: as many as there is room for
	Features Size     `yaml:"features"`  // how much is kept of what trainings computed of one user's photos while nothing of theirs runs; default 16GiB
	Callback Callback `yaml:"callback"`
	ScaleOut ScaleOut `yaml:"scale_out"`
	Deliver  Deliver  `yaml:"deliver"`

	Kubernetes Kubernetes `yaml:"kubernetes"`
}

// System is what defaults are made from.
type System struct {
	Getenv     func(string) string
	Executable string // path of this binary
	Home       string // the user's home folder
	Exists     func(path string) bool
}

// ThisSystem looks at the process's own surroundings.
func ThisSystem() (System, error) {
	exe, err := os.Executable()
	if err != nil {
		return System{}, fmt.Errorf("find this program: %w", err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "" // only needed when nothing is given
	}
	return System{Getenv: os.Getenv, Executable: exe, Home: home, Exists: func(p string) bool {
		_, err := os.Stat(p)
		return err == nil
	}}, nil
}

// Resolve fills in defaults, makes paths absolute and refuses settings that are unsafe or cannot work.
func (c Config) Resolve(sys System) (Config, error) {
	var err error
	if c.Data, err = c.data(sys); err != nil {
		return c, err
	}
	c.Runner = cmp.Or(c.Runner, RunnerLocal)
	c.Slots = cmp.Or(c.Slots, 1)
	c.Features = cmp.Or(c.Features, 16<<30)
	c.Volume = cmp.Or(c.Volume, filepath.Join(c.Data, "volume"))
	c.Listen = cmp.Or(c.Listen, "unix:"+SocketPath(c.Data, sys.Getenv("XDG_RUNTIME_DIR")))
	c.Trainer = cmp.Or(c.Trainer, filepath.Join(filepath.Dir(sys.Executable), "cultivar-trainer"))
	c.Bases = c.bases(sys)
	if c.Runner == RunnerKubernetes {
		c.Kubernetes = c.Kubernetes.resolve(sys)
		c.Callback.Listen = cmp.Or(c.Callback.Listen, ":8081")
	}
	if c.ScaleOut.Images > 0 {
		c.ScaleOut.Parts = cmp.Or(c.ScaleOut.Parts, 4)
	}
	for _, p := range c.paths() {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return c, fmt.Errorf("resolve path %q: %w", *p, err)
		}
	}
	if err := c.check(); err != nil {
		return c, err
	}
	if len(c.Hosts) == 0 && !c.Shared() && !strings.HasPrefix(c.Listen, "unix:") {
		c.Hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	return c, nil
}

func (k Kubernetes) resolve(sys System) Kubernetes {
	k.Image = cmp.Or(k.Image, sys.Getenv("CULTIVAR_TRAINER_IMAGE"))
	k.Instance = cmp.Or(k.Instance, "default")
	k.PullPolicy = cmp.Or(k.PullPolicy, "IfNotPresent")
	k.ServiceAccount = cmp.Or(k.ServiceAccount, "cultivar-trainer")
	k.PullPatience = cmp.Or(k.PullPatience, Duration(5*time.Minute))
	k.SchedulePatience = cmp.Or(k.SchedulePatience, Duration(30*time.Minute))
	return k
}

// paths are the settings that name a file or a folder. Pointers inside are to copies, so that Resolve changes no other
// Config.
func (c *Config) paths() []*string {
	out := []*string{&c.Volume, &c.Trainer, &c.Bases, &c.TLS.Certificate, &c.TLS.Key, &c.Callback.JWKSFile, &c.Kubernetes.Kubeconfig}
	if c.Deliver.Dropbox != nil {
		d := *c.Deliver.Dropbox
		c.Deliver.Dropbox = &d
		out = append(out, &d.AppSecretFile, &d.RefreshTokenFile)
	}
	if c.Deliver.Mail != nil {
		m := *c.Deliver.Mail
		c.Deliver.Mail = &m
		out = append(out, &m.SendGridFile)
		if m.SMTP != nil {
			smtp := *m.SMTP
			m.SMTP = &smtp
			out = append(out, &smtp.PasswordFile)
		}
	}
	return out
}

// settingsFile is read when no other file is named: a server that a program started by itself has settings too.
const settingsFile = "config.yaml"

// FileIn returns the settings file that lies in the data folder, empty when there is none.
func (c Config) FileIn(sys System) (string, error) {
	dir, err := c.data(sys)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, settingsFile)
	if !sys.Exists(file) {
		return "", nil
	}
	return file, nil
}

func (c Config) data(sys System) (string, error) {
	dir := c.Data
	for _, try := range []func() string{
		func() string { return sys.Getenv("CULTIVAR_DATA") },
		func() string {
			if x := sys.Getenv("XDG_DATA_HOME"); x != "" {
				return filepath.Join(x, "cultivar")
			}
			return ""
		},
		func() string {
			if sys.Home != "" {
				return filepath.Join(sys.Home, ".local", "share", "cultivar")
			}
			return ""
		},
	} {
		if dir == "" {
			dir = try()
		}
	}
	if dir == "" {
		return "", errors.New("there is no home folder to keep data in: give a folder with --data")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("resolve path %q: %w", dir, err)
	}
	return abs, nil
}

func (c Config) bases(sys System) string {
	if c.Bases != "" {
		return c.Bases
	}
	if dir := sys.Getenv("CULTIVAR_BASES"); dir != "" {
		return dir
	}
	exe := filepath.Dir(sys.Executable)
	if c.Runner == RunnerKubernetes {
		return filepath.Join(c.Volume, runspec.BasesDir()) // the only place that pods see
	}
	own := filepath.Join(c.Data, runspec.BasesDir())
	for _, dir := range []string{own, filepath.Join(exe, "..", "share", "cultivar", "bases"), filepath.Join(exe, "..", ".deps", "bases")} {
		if sys.Exists(dir) {
			return dir
		}
	}
	return own
}

// SocketPath is where a server with this data folder listens when nothing else is said. A path that is too long for the
// system goes into the runtime folder under a name made from the data folder's.
func SocketPath(data, runtimeDir string) string {
	p := filepath.Join(data, "server.sock")
	if len(p) <= maxSocketPath || runtimeDir == "" {
		return p
	}
	sum := sha256.Sum256([]byte(data))
	return filepath.Join(runtimeDir, "cultivar-"+hex.EncodeToString(sum[:8])+".sock")
}
