package journal

import (
	"context"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Watch adds a system record every interval until ctx ends.
func (j *Journal) Watch(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	busy, at := processorTime(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			used := processorTime()
			cpu := (used - busy).Seconds() / max(now.Sub(at).Seconds(), 1e-9)
			busy, at = used, now
			j.Add(runspec.TypeSystem, runspec.System{CPU: runspec.Float(cpu), RSSBytes: residentBytes()})
		}
	}
}

func processorTime() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// residentBytes is how much memory the process takes now.
func residentBytes() int64 {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return PeakMemory() // systems without /proc
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// PeakMemory is the most memory the process has taken so far, bytes.
func PeakMemory() int64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return int64(usage.Maxrss) * maxRSSUnit
}
