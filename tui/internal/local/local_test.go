//go:build linux

package local_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/tui/internal/local"
)

// server finds the built server, or skips the test.
func server(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("CULTIVAR_BIN")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "bin")
	}
	path, err := filepath.Abs(filepath.Join(dir, "cultivar-server"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("SKIPPED, NOT CHECKED: bin/cultivar-server is not built: run `make build`")
	}
	return path
}

// folder is a short path, since a socket lies in it.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end(t, dir)
		_ = os.RemoveAll(dir)
	})
	return dir
}

// listener is the process that listens on a data folder's socket; 0: none.
func listener(dir string) int {
	conn, err := net.DialTimeout("unix", local.Socket(dir), time.Second)
	if err != nil {
		return 0
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if peer, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			pid = int(peer.Pid)
		}
	})
	return pid
}

// end kills the server of a data folder and waits until it is gone.
func end(t *testing.T, dir string) {
	t.Helper()
	pid := listener(dir)
	if pid == 0 {
		return
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); listener(dir) == pid; {
		if time.Now().After(deadline) {
			t.Fatal("the server does not end")
		}
	}
}

func TestConnectStartsTheServerAndStartsItAgain(t *testing.T) {
	t.Setenv("CULTIVAR_TOKEN", "cv_of_another_server")
	o := local.Options{DataDir: folder(t), Program: server(t)}
	opts, err := local.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Version(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := listener(o.DataDir)
	if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", first)); err != nil || strings.Contains(string(env), "cv_of_another_server") {
		t.Errorf("the server was given another one's token: %v", err)
	}
	again, err := local.Connect(t.Context(), o)
	if err != nil || again.Server != opts.Server || listener(o.DataDir) != first {
		t.Errorf("a second connect: %v, %s, process %d after %d", err, again.Server, listener(o.DataDir), first)
	}
	end(t, o.DataDir)
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, err := c.Runs(t.Context(), "")
		if err == nil {
			break
		}
		if !errors.Is(err, client.ErrUnreachable) || time.Now().After(deadline) {
			t.Fatalf("after the server was killed: %v", err)
		}
	}
	if pid := listener(o.DataDir); pid == first || pid == 0 {
		t.Errorf("process %d answers after %d was killed", pid, first)
	}
}

func TestConnectAtOnce(t *testing.T) {
	o := local.Options{DataDir: folder(t), Program: server(t)}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			opts, err := local.Connect(t.Context(), o)
			if err != nil {
				t.Error(err)
				return
			}
			c, err := client.New(opts)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := c.Version(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestConnectSaysWhyNot(t *testing.T) {
	script := func(text string) string {
		path := filepath.Join(t.TempDir(), "server")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("it fails", func(t *testing.T) {
		o := local.Options{DataDir: folder(t), Program: script("echo first >&2\necho the disk is full >&2\nexit 1\n")}
		_, err := local.Connect(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), "the disk is full") || !strings.Contains(err.Error(), "server.log") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("there is none", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		_, err := local.Connect(t.Context(), local.Options{DataDir: folder(t)})
		if err == nil || !strings.Contains(err.Error(), "CULTIVAR_SERVER") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("it is given up", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := local.Connect(ctx, local.Options{DataDir: folder(t), Program: script("sleep 3\n")})
		if err == nil {
			t.Error("a server that never answers is connected to")
		}
	})
}

func TestSocketFitsIntoAnAddress(t *testing.T) {
	long := "/" + strings.Repeat("long/", 40)
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/1000")
	if got := local.Socket(long); len(got) > 100 || !strings.HasPrefix(got, "/run/user/1000/cultivar-") {
		t.Errorf("socket %s", got)
	}
	if local.Socket(long) == local.Socket(long+"er") {
		t.Error("two folders share a socket")
	}
	if got := local.Socket("/short"); got != "/short/server.sock" {
		t.Errorf("socket %s", got)
	}
}

func TestDataDir(t *testing.T) {
	t.Setenv("HOME", "/home/ada")
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("CULTIVAR_DATA", "")
	check := func(want string) {
		t.Helper()
		if got, err := local.DataDir(); err != nil || got != want {
			t.Errorf("data folder %s, %v, want %s", got, err, want)
		}
	}
	check("/home/ada/.local/share/cultivar")
	t.Setenv("XDG_DATA_HOME", "/data")
	check("/data/cultivar")
	t.Setenv("CULTIVAR_DATA", "/srv/c")
	check("/srv/c")
}
