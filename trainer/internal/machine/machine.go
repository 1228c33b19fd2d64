// Package machine says what kind of machine this is, for figures that depend on it. It measures nothing.
package machine

import (
	"cmp"
	"fmt"
	"math/bits"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// ID identifies the kind of machine this is, so that machines of one kind share their figures: the processor's model,
// how many cores may be used, and the memory. It tells no name and no address.
func ID() string {
	cpu, _ := os.ReadFile("/proc/cpuinfo") // elsewhere than on Linux the architecture has to do
	memory, _ := os.ReadFile("/proc/meminfo")
	return IDOf(string(cpu), string(memory), runtime.GOMAXPROCS(0))
}

// Name is what people call the machine: its processor and how many cores of it may be used.
func Name() string {
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	return NameOf(string(cpu), runtime.GOMAXPROCS(0))
}

// NameOf is Name of the text of /proc/cpuinfo.
func NameOf(cpuinfo string, cores int) string {
	unit := "cores"
	if cores == 1 {
		unit = "core"
	}
	return fmt.Sprintf("%s, %d %s", strings.Join(strings.Fields(processor(cpuinfo)), " "), cores, unit)
}

// processor is the processor's model without what makers add to it.
func processor(cpuinfo string) string {
	return trademarks.ReplaceAllString(cmp.Or(field(cpuinfo, "model name"), runtime.GOOS+" "+runtime.GOARCH), " ")
}

var (
	trademarks = regexp.MustCompile(`(?i)\((r|tm)\)|\bcpu\b|\bprocessor\b|@.*|\d+-core`)
	unclean    = regexp.MustCompile(`[^a-z0-9]+`)
)

// IDOf is ID of the texts of /proc/cpuinfo and /proc/meminfo. Clouds call many processors just "Xeon", so the
// family's and the model's number are part of it; memory is rounded up to a power of two GiB.
func IDOf(cpuinfo, meminfo string, cores int) string {
	parts := []string{processor(cpuinfo)}
	for _, key := range []string{"cpu family", "model"} {
		if v := field(cpuinfo, key); v != "" {
			parts = append(parts, v)
		}
	}
	parts = append(parts, fmt.Sprintf("%dcore", cores))
	if kB, err := strconv.ParseUint(strings.TrimSuffix(field(meminfo, "MemTotal"), " kB"), 10, 64); err == nil && kB > 0 {
		parts = append(parts, fmt.Sprintf("%dg", 1<<bits.Len64((kB-1)>>20)))
	}
	return strings.Trim(unclean.ReplaceAllString(strings.ToLower(strings.Join(parts, " ")), "-"), "-")
}

// field is the first value of a key in lines of "key : value".
func field(text, key string) string {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
