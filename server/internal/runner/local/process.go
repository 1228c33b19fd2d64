package local

import "golang.org/x/sys/unix"

// process names a process for good: numbers are used again, a number with a start time is not.
type process struct {
	PID   int    `json:"pid"`
	Start string `json:"start"` // as the system tells it, with the boot it belongs to
}

func (p process) alive() bool {
	start, err := startTime(p.PID)
	return err == nil && start == p.Start
}

// signal sends to the process, after a look that it is still the same.
func (p process) signal(s unix.Signal) error {
	if !p.alive() {
		return nil
	}
	if err := unix.Kill(p.PID, s); err != nil && err != unix.ESRCH {
		return err
	}
	return nil
}
