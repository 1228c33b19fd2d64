package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

var errGone = errors.New("no such process")

// startTime is the boot's id and field 22 of /proc/PID/stat (proc_pid_stat(5)): ticks since boot. A zombie is gone.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", errGone
	}
	// Field 2 is the name in brackets and may hold anything, brackets and spaces too; the last bracket ends it.
	_, rest, ok := cutLast(stat, ')')
	fields := strings.Fields(string(rest))
	if !ok || len(fields) < 20 {
		return "", fmt.Errorf("read state of process %d: unexpected form", pid)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return "", errGone
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot's id: %w", err)
	}
	return strings.TrimSpace(string(boot)) + "/" + fields[19], nil
}

func cutLast(b []byte, sep byte) (before, after []byte, ok bool) {
	i := bytes.LastIndexByte(b, sep)
	if i < 0 {
		return b, nil, false
	}
	return b[:i], b[i+1:], true
}

// childAttr makes the trainer die with its supervising process, so that nothing runs unseen.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// preferVictim makes the system end the trainer first when memory runs out; without the right to, nothing changes.
func preferVictim() {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0)
}

// oomKills counts the times that the system ended a process of our control group for lack of memory; 0 when unknown.
func oomKills() int {
	group, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(group)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		events, err := os.ReadFile("/sys/fs/cgroup" + path + "/memory.events")
		if err != nil {
			return 0
		}
		for line := range strings.Lines(string(events)) {
			if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
				count, _ := strconv.Atoi(n)
				return count
			}
		}
	}
	return 0
}
