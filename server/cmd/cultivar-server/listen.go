package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/files"
)

// listen opens the address that people's programs connect to, encrypted where the settings have a certificate.
func listen(ctx context.Context, c config.Config) (net.Listener, error) {
	if path, ok := strings.CutPrefix(c.Listen, "unix:"); ok {
		return listenSocket(ctx, path)
	}
	settings, err := encryption(c.TLS)
	if err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; choose another port with --listen", c.Listen, err)
	}
	if settings != nil {
		l = tls.NewListener(l, settings)
	}
	return l, nil
}

// encryption is how connections are encrypted; nil: they are not.
func encryption(c config.TLS) (*tls.Config, error) {
	if c.Certificate == "" {
		return nil, nil //nolint:nilnil // no encryption is an answer
	}
	shown, err := openCertificate(c.Certificate, c.Key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: shown.get}, nil
}

func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	// The data folder is locked, so a socket that is there was left by a server that was killed.
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the socket of an earlier server: %w", err)
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, files.FileMode); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), l.Close())
	}
	return l, nil
}

// listenCallback opens what trainers report to, and tells the URL they reach it by.
func listenCallback(ctx context.Context, c config.Config, log *slog.Logger) (net.Listener, string, error) {
	var l net.Listener
	var err error
	if c.Callback.Listen == "" {
		l, err = keptPort(ctx, filepath.Join(c.Data, "callback.port"), log)
	} else if l, err = new(net.ListenConfig).Listen(ctx, "tcp", c.Callback.Listen); err != nil {
		err = fmt.Errorf("listen for trainers on %s: %w", c.Callback.Listen, err)
	}
	if err != nil {
		return nil, "", err
	}
	return l, cmp.Or(strings.TrimSuffix(c.Callback.URL, "/"), "http://"+l.Addr().String()), nil
}

// keptPort opens a loopback port: the same as last time, because running trainers were told it. When that port is taken
// they write their spool only, which the server reads.
func keptPort(ctx context.Context, portFile string, log *slog.Logger) (net.Listener, error) {
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
