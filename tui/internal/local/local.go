// Package local finds this user's own server on this machine and starts it when nobody answers. The server outlives the
// program while trainings run. It is used only when no other server is configured.
package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cultivar-ml/cultivar/shared/client"
)

const (
	program      = "cultivar-server"
	logName      = "server.log"
	socketName   = "server.sock"
	maxSocket    = 100 // bytes: the least that systems allow for a socket's path is 104
	idleExit     = "10m"
	startTimeout = 30 * time.Second
	askEvery     = 30 * time.Millisecond
)

// Options says where the server lives.
type Options struct {
	// DataDir holds everything it keeps; empty: DataDir().
	DataDir string
	// Program is the server's binary; empty: the one next to this program, else the one in PATH.
	Program string
}

// DataDir is the folder of the server's data: $CULTIVAR_DATA, else cultivar in $XDG_DATA_HOME or ~/.local/share.
func DataDir() (string, error) {
	if dir := os.Getenv("CULTIVAR_DATA"); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "cultivar"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("there is no home folder to keep data in (%w): set CULTIVAR_DATA to a folder", err)
	}
	return filepath.Join(home, ".local", "share", "cultivar"), nil
}

// Socket is the path of the server's socket for a data folder; a long one would not fit into an address.
func Socket(dataDir string) string {
	path := filepath.Join(dataDir, socketName)
	if len(path) <= maxSocket {
		return path
	}
	sum := sha256.Sum256([]byte(dataDir))
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "cultivar-"+hex.EncodeToString(sum[:8])+".sock")
}

// Connect makes sure that the server answers, starting it if need be, and returns how to reach it. A client made of the
// options starts it again should it die later: trainings go on without it and are adopted by the next.
func Connect(ctx context.Context, o Options) (client.Options, error) {
	if o.DataDir == "" {
		dir, err := DataDir()
		if err != nil {
			return client.Options{}, err
		}
		o.DataDir = dir
	}
	h := &host{dir: o.DataDir, socket: Socket(o.DataDir), program: o.Program}
	conn, err := h.dial(ctx, "", "")
	if err != nil {
		return client.Options{}, err
	}
	_ = conn.Close()
	return client.Options{
		Server: "unix://" + h.socket,
		HTTP:   &http.Client{Transport: &http.Transport{DialContext: h.dial, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute}},
	}, nil
}

// host is the server on this machine.
type host struct {
	dir, socket, program string

	mu sync.Mutex // one start at a time
}

// dial connects to the socket, starting the server when nobody answers.
func (h *host) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := h.try(ctx)
	if err == nil || !absent(err) {
		return conn, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if conn, err := h.try(ctx); err == nil { // another goroutine has started it meanwhile
		return conn, nil
	}
	return h.start(ctx)
}

// absent tells whether an error of try means that no server listens.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || isRefused(err)
}

func (h *host) try(ctx context.Context) (net.Conn, error) {
	info, err := os.Lstat(h.socket)
	if err != nil {
		return nil, err
	}
	if !ownedByUs(info) {
		return nil, fmt.Errorf("%s belongs to another user: remove it, or set CULTIVAR_DATA to a folder of your own", h.socket)
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", h.socket)
}

// start runs the server and waits until it answers.
func (h *host) start(ctx context.Context) (net.Conn, error) {
	binary, err := h.binary()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	logPath := filepath.Join(h.dir, logName)
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the server's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(binary, "serve", "--data", h.dir, "--listen", "unix:"+h.socket, "--idle-exit", idleExit) //nolint:noctx // the server is to outlive this program
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, h.dir
	cmd.SysProcAttr = detached()
	// It outlives this program, and starts others: another server's token is none of its business.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CULTIVAR_TOKEN=") })
	from, err := log.Seek(0, 2)
	if err != nil {
		return nil, fmt.Errorf("open the server's log: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return h.await(ctx, ended, logPath, from)
}

// await asks until the server listens. A server that ends well at once found another one running, which will answer.
func (h *host) await(ctx context.Context, ended <-chan error, logPath string, from int64) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				return nil, fmt.Errorf("the server on this machine did not start (%w): %s", err, tail(logPath, from))
			}
			ended = nil
		case <-tick.C:
			if conn, err := h.try(ctx); err == nil {
				return conn, nil
			}
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, ctx.Err()
			}
			return nil, fmt.Errorf("the server on this machine does not answer after %s; its log is %s", startTimeout, logPath)
		}
	}
}

// tail is the last line of what the server wrote to its log since it was started.
func tail(path string, from int64) string {
	b, err := os.ReadFile(path)
	if err != nil || int64(len(b)) <= from {
		return "its log, " + path + ", says nothing"
	}
	lines := bytes.Split(bytes.TrimSpace(b[from:]), []byte("\n"))
	return strconv.Quote(string(lines[len(lines)-1])) + "; all of it is in " + path
}

// binary finds the server's program.
func (h *host) binary() (string, error) {
	if h.program != "" {
		return h.program, nil
	}
	if self, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(self); err == nil {
			self = real
		}
		beside := filepath.Join(filepath.Dir(self), program)
		if info, err := os.Stat(beside); err == nil && !info.IsDir() {
			return beside, nil
		}
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("%s is neither next to this program nor in PATH: install it there, or set CULTIVAR_SERVER to the address of a server", program)
	}
	return strings.TrimSpace(path), nil
}
