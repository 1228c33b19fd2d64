package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/cultivar-ml/cultivar/server/internal/files"
)

// listen opens the address that people's programs connect to.
func listen(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	path, isSocket := strings.CutPrefix(address, "unix:")
	if !isSocket {
		l, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w; choose another port with --listen", address, err)
		}
		return l, nil
	}
	// The data folder is locked, so a socket that is there was left by a server that was killed.
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the socket of an earlier server: %w", err)
		}
	}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, files.FileMode); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), l.Close())
	}
	return l, nil
}

// listenCallback opens the loopback port that trainers report to: the same as last time, because running trainers were
// told it. When that port is taken they write their spool only, which the server reads.
func listenCallback(ctx context.Context, portFile string, log *slog.Logger) (net.Listener, error) {
	var lc net.ListenConfig
	if b, err := os.ReadFile(portFile); err == nil {
		if port, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && port > 0 && port < 1<<16 {
			l, err := lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
			if err == nil {
				return l, nil
			}
			log.WarnContext(ctx, "the port that trainers know is taken; their records are read from disk", "error", err)
		}
	}
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for trainers: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // a TCP listener's address is one
	if err := files.WriteBytes(portFile, files.FileMode, []byte(strconv.Itoa(port)+"\n")); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
