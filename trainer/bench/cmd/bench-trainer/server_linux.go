package main

import (
	"net"
	"path/filepath"
	"syscall"
	"time"
)

// serverWait is how long a server may take to end: its trainings are over by then.
const serverWait = 20 * time.Second

// endServer ends the server of a data folder, which would otherwise wait for more work beside the next cell.
func endServer(data string) {
	pid := serverPID(data)
	if pid == 0 {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	for end := time.Now().Add(serverWait); syscall.Kill(pid, 0) == nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			return
		}
	}
}

// serverPID asks the kernel who listens on the server's socket; 0 when nobody does.
func serverPID(data string) int {
	conn, err := net.DialTimeout("unix", filepath.Join(data, "server.sock"), time.Second) //nolint:noctx // it waits a second at most
	if err != nil {
		return 0
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	var peer *syscall.Ucred
	_ = raw.Control(func(fd uintptr) {
		peer, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err != nil || peer == nil {
		return 0
	}
	return int(peer.Pid)
}
