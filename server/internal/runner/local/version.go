package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Version asks a trainer's binary which release it is, in the environment that trainings have. That it answers means that
// its libraries are there too. The error has the last line of what it said instead.
func Version(ctx context.Context, trainer string) (string, error) {
	cmd := exec.CommandContext(ctx, trainer, "--version")
	cmd.Env = environment(os.LookupEnv)
	cmd.WaitDelay = time.Second // a child of its may hold the pipe open
	out, err := cmd.Output()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		if line := lastLine(string(ended.Stderr)); line != "" {
			err = fmt.Errorf("%w: %s", err, line)
		}
	}
	version, known := strings.CutPrefix(strings.TrimSpace(string(out)), "cultivar-trainer version ")
	if err == nil && !known {
		err = fmt.Errorf("it answers %q", lastLine(string(out)))
	}
	if err != nil {
		return "", fmt.Errorf("ask the trainer for its release: %w", err)
	}
	return version, nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
