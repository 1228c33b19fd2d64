package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/store"
)

// database looks into the database file.
func (e *examination) database(ctx context.Context) []Check {
	const name = "database"
	if c, stuck := e.writer(ctx); stuck {
		return []Check{c}
	}
	in, err := store.Inspect(ctx, e.Database)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []Check{ok(name, "%s is not there yet; the server makes it when it first starts", e.Database)}
	case err != nil && ctx.Err() != nil:
		return []Check{warning(name, "Run the doctor again when the server is less busy.", "%s could not be looked through in time: %v", e.Database, inner(err))}
	case err != nil && strings.Contains(err.Error(), "unable to open"): // which SQLite says without the system's reason
		return []Check{failed(name, mend(fs.ErrPermission, e.Config.Data, e.serverAccount()), "%s cannot be opened by %s: %v", e.Database, account(os.Geteuid()), inner(err))}
	case errors.Is(err, unix.EISDIR):
		return []Check{failed(name, mend(fs.ErrExist, e.Database, e.serverAccount()), "%s is a folder, but the server's database must be a file", e.Database)}
	case err != nil:
		return []Check{failed(name, mend(err, e.Config.Data, e.serverAccount()), "%s cannot be read: %v", e.Database, inner(err))}
	case in.Damage != nil:
		return []Check{failed(name, restore, "%s is damaged: %s", e.Database, strings.Join(in.Damage, "; "))}
	case in.Buggy != "":
		return []Check{failed(name, "Build this program with a newer modernc.org/sqlite.", "%s", in.Buggy)}
	case in.Schema > in.Known:
		return []Check{failed(name, "Install the release that ran last, or a newer one; or restore the backup made before the upgrade.",
			"%s has schema %d, but this program knows up to %d: a newer release has run on it", e.Database, in.Schema, in.Known)}
	}
	text := fmt.Sprintf("%s, %s, is sound; schema %d, SQLite %s", e.Database, size(uint64(in.Bytes)), in.Schema, in.SQLite) //nolint:gosec // a file's size
	if in.Schema < in.Known {
		return []Check{warning(name, "Make a backup; the next start of this program brings the schema up to date, and not back.", "%s; this program has schema %d", text, in.Known)}
	}
	return []Check{ok(name, "%s", text)}
}

const restore = "Stop the server, keep the data folder as it is for whoever looks into it, and restore the last backup: docs/operations.md, Backup."

// busyPatience is how long somebody may write without a pause: from here on the server's own changes fail.
var busyPatience = store.BusyPatience * time.Millisecond

// lookAgain is how often a database that is written to is looked at again; a change takes milliseconds.
const lookAgain = 50 * time.Millisecond

// writer finds a program that keeps the database from the server: a backup, a shell, a transaction that somebody left open.
func (e *examination) writer(ctx context.Context) (c Check, stuck bool) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for began := time.Now(); ; {
		pid, writing, err := store.Writer(e.Database)
		if err != nil || !writing {
			return Check{}, false // what is wrong with the file, Inspect says
		}
		if took := time.Since(began); took >= busyPatience {
			return failed("database", "End that program, or have it read a backup instead; only the server may write.",
				"%s has been locked for %s by %s, so what the server has to write fails", e.Database, config.Duration(busyPatience), process(pid)), true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return Check{}, false
		}
	}
}

// process names a process by its number, and by its program where the system tells.
func process(pid int) string {
	if pid == 0 {
		return "a process of another container"
	}
	program, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(program)))
}
