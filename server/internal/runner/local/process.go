package local

// process names a process for good: numbers are used again, a number with a start time is not.
type process struct {
	PID   int    `json:"pid"`
	Start string `json:"start"` // as the system tells it, with the boot it belongs to
}

func (p process) alive() bool {
	start, err := startTime(p.PID)
	return err == nil && start == p.Start
}
