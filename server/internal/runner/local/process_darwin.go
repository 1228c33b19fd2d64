package local

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

var errGone = errors.New("no such process")

const zombie = 5 // SZOMB of sys/proc.h

func startTime(pid int) (string, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil || info.Proc.P_stat == zombie {
		return "", errGone
	}
	return fmt.Sprintf("%d.%06d", info.Proc.P_starttime.Sec, info.Proc.P_starttime.Usec), nil
}

func childAttr() *syscall.SysProcAttr { return nil }

func preferVictim() {}

func oomKills() int { return 0 }
