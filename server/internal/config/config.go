// Package config says where things are and how the server runs: one struct, whose defaults are found from the
// environment and from where the binary stands. It opens nothing.
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// maxSocketPath is below the 104 bytes that macOS allows a socket's path to have; Linux allows 108.
const maxSocketPath = 100

// Config is a server's settings.
type Config struct {
	Data     string        // folder for everything; default $CULTIVAR_DATA, else the user's data folder
	Listen   string        // "unix:PATH" or "127.0.0.1:PORT"; default a socket in Data
	Trainer  string        // path of the trainer's binary; default cultivar-trainer beside this binary
	Bases    string        // folder of base models; default $CULTIVAR_BASES, else the first that exists
	IdleExit time.Duration // leave after so long without a request or an active task; 0: never
	Slots    int           // trainings at once; default 1
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

// Resolve fills in defaults, makes paths absolute and refuses settings that would be unsafe.
func (c Config) Resolve(sys System) (Config, error) {
	var err error
	if c.Data, err = c.data(sys); err != nil {
		return c, err
	}
	if c.Listen == "" {
		c.Listen = "unix:" + SocketPath(c.Data, sys.Getenv("XDG_RUNTIME_DIR"))
	}
	if err := checkListen(c.Listen); err != nil {
		return c, err
	}
	if c.Trainer == "" {
		c.Trainer = filepath.Join(filepath.Dir(sys.Executable), "cultivar-trainer")
	}
	c.Bases = c.bases(sys)
	if c.Slots == 0 {
		c.Slots = 1
	}
	if c.Slots < 1 {
		return c, fmt.Errorf("--slots is %d, but must be at least 1", c.Slots)
	}
	for _, p := range []*string{&c.Trainer, &c.Bases} {
		if *p, err = filepath.Abs(*p); err != nil {
			return c, fmt.Errorf("resolve path %q: %w", *p, err)
		}
	}
	return c, nil
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

// checkListen refuses every address that other machines could reach: there, tokens would cross the network in the clear.
func checkListen(listen string) error {
	if p, ok := strings.CutPrefix(listen, "unix:"); ok {
		if !filepath.IsAbs(p) {
			return fmt.Errorf("--listen %s: a socket's path must be absolute", listen)
		}
		return nil
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("--listen %s: give unix:PATH or 127.0.0.1:PORT", listen)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--listen %s: other machines could reach that address without encryption; listen on 127.0.0.1 or a unix socket and put a proxy with TLS, or ssh, in front", listen)
	}
	return nil
}
