package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"

	"github.com/cultivar-ml/cultivar/server/internal/runner/local"
)

// trainer asks the program that local trainings run.
func (e *examination) trainer(ctx context.Context) []Check {
	const name = "trainer"
	path := e.Config.Trainer
	version, err := local.Version(ctx, path)
	var ended *exec.ExitError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []Check{failed(name, "Put cultivar-trainer beside cultivar-server, or name it in the setting trainer or with --trainer.", "%s is not there, so no training can begin", path)}
	case errors.Is(err, fs.ErrPermission):
		return []Check{failed(name, fmt.Sprintf("Let the server's account execute it: chmod 755 %s; see too that its disk is not mounted noexec.", path), "%s cannot be executed: %v", path, inner(err))}
	case errors.As(err, &ended):
		return []Check{failed(name, "Install what it lacks: its libraries lie in ../lib beside the program's folder, and HDF5 comes from the system (docs/operations.md).", "%s does not start: %v", path, inner(err))}
	case err != nil:
		return []Check{failed(name, "Install the trainer of this server's release.", "%s does not answer as a trainer: %v", path, inner(err))}
	case release(version) != release(e.Version):
		return []Check{warning(name, "Install both of the same release.", "%s is %s, but this server is %s", path, version, e.Version)}
	case version != e.Version:
		return []Check{ok(name, "%s is %s, of the server's release from another commit", path, version)}
	}
	return []Check{ok(name, "%s is %s, as the server", path, version)}
}

// release is a version without its commit.
func release(version string) string {
	name, _, _ := strings.Cut(version, " ")
	return name
}
