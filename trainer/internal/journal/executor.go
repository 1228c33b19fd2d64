package journal

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// ExecutorEnv names the executor when whoever started this process has a better name for it, such as a pod's UID.
const ExecutorEnv = "CULTIVAR_EXECUTOR"

// Executor is this process' name among all that ever worked on an attempt: from the environment, or process id and
// start time. It becomes a folder's name, so anything else in the environment than letters, digits, "-", "_" and "."
// is refused.
func Executor() (string, error) {
	if name := os.Getenv(ExecutorEnv); name != "" {
		plain := func(r rune) bool {
			return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r)
		}
		if strings.TrimFunc(name, plain) != "" || len(name) > 128 || strings.Trim(name, ".") == "" {
			return "", fmt.Errorf("%s is %q, which cannot name a folder", ExecutorEnv, name)
		}
		return name, nil
	}
	start := "0" // systems without /proc
	if stat, err := os.ReadFile("/proc/self/stat"); err == nil {
		// Field 22, counted from behind the command, which may hold spaces and brackets (proc_pid_stat(5)).
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 19 {
			start = string(fields[19])
		}
	}
	return fmt.Sprintf("%d-%s", os.Getpid(), start), nil
}
