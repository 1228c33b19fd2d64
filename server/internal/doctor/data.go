package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/files"
)

const (
	// leastShare is the part of a disk that should stay free. On the volume's, the server refuses uploads below it.
	leastShare = 0.05
	// leastData and leastVolume are free bytes below which even small work fails: a database's log, a training's result.
	leastData   = 256_000_000
	leastVolume = 1_000_000_000
)

// data looks at the folder of the database: there, the server's, writable, on a local disk with room.
func (e *examination) data(context.Context) []Check {
	dir := e.Config.Data
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []Check{e.absentData()}
	case err != nil:
		return []Check{failed("data folder", mend(err, dir, e.serverAccount()), "%v", err)}
	case !info.IsDir():
		return []Check{failed("data folder", mend(unix.ENOTDIR, dir, e.serverAccount()), "%s is a file, but the server needs a folder there", dir)}
	}
	return []Check{e.dataFolder(info), dataDisk(dir)}
}

// absentData is a folder that no server has made yet, or could not.
func (e *examination) absentData() Check {
	dir := e.Config.Data
	up := filepath.Dir(dir)
	for up != filepath.Dir(up) {
		if _, err := os.Stat(up); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		up = filepath.Dir(up)
	}
	if err := unix.Access(up, unix.W_OK|unix.X_OK); err != nil {
		return failed("data folder", mend(err, dir, e.serverAccount()), "%s is not there, and cannot be made in %s: %v", dir, up, err)
	}
	return warning("data folder", "If a server has run already, this is not its folder: name it with --data, or its settings with --config.",
		"%s is not there; the server makes it when it first starts", dir)
}

func (e *examination) dataFolder(info fs.FileInfo) Check {
	const name = "data folder"
	dir, server := e.Config.Data, e.serverAccount()
	uid, err := owner(dir)
	if err == nil {
		err = tryWrite(dir)
	}
	if err != nil {
		return failed(name, mend(err, dir, server), "%s cannot be written by %s: %v", dir, account(os.Geteuid()), reason(err))
	}
	if closed(info, dir, server) {
		return failed(name, "Let its owner write: chmod u+rwx "+dir, "%s cannot be written by its owner, %s", dir, account(uid))
	}
	// A command that root ran makes files that the server cannot open.
	for _, file := range []string{e.Database, e.Database + "-wal", e.Database + "-shm", e.Lock} {
		if of, err := owner(file); err == nil && of != uid && uid != 0 {
			return failed(name, fmt.Sprintf("Stop the server, then give the folder's files to its owner: chown -R %d %s", uid, dir),
				"%s belongs to %s, the folder to %s, who cannot write it", file, account(of), account(uid))
		}
	}
	if e.Config.Runner == config.RunnerLocal && info.Mode().Perm()&0o007 != 0 { // in a container there is nobody else
		return warning(name, "Close it to them: chmod 700 "+dir, "%s belongs to %s and can be written, but every account of this machine can look into it", dir, account(uid))
	}
	return ok(name, "%s belongs to %s and can be written", dir, account(uid))
}

func dataDisk(dir string) Check {
	network, err := files.Network(dir)
	if err != nil {
		return failed("data disk", mend(err, dir, os.Geteuid()), "%v", err)
	}
	if network != "" {
		return failed("data disk", "Choose a data folder on a local disk, with data in the settings or --data. Only the volume may be shared.",
			"%s is on a network file system (%s), where SQLite can lose data, so the server does not start", dir, network)
	}
	free, total, err := files.Free(dir)
	if err != nil {
		return failed("data disk", mend(err, dir, os.Geteuid()), "%v", err)
	}
	return room("data disk", "local disk", free, total, leastData, false)
}

// room judges how much of a disk is free; the least share is only urgent where the server keeps to it.
func room(name, kind string, free, total, least uint64, urgent bool) Check {
	share := 0.0
	if total > 0 {
		share = float64(free) / float64(total)
	}
	text := fmt.Sprintf("%s, %s of %s free (%.0f %%)", kind, size(free), size(total), 100*share)
	remedy := mend(unix.ENOSPC, "", 0)
	switch {
	case free < least:
		return failed(name, remedy, "%s; less than %s is too little to work with", text, size(least))
	case share < leastShare && urgent:
		return failed(name, remedy, "%s; below %.0f %% the server refuses uploads", text, 100*leastShare)
	case share < leastShare:
		return warning(name, remedy, "%s; a full disk stops the server", text)
	}
	return ok(name, "%s", text)
}

// size writes bytes as people do.
func size(n uint64) string {
	value, unit := float64(n), 0
	for value >= 999.5 && unit < len(units)-1 {
		value, unit = value/1000, unit+1
	}
	if value < 9.95 && unit > 0 {
		return fmt.Sprintf("%.1f %s", value, units[unit])
	}
	return fmt.Sprintf("%.0f %s", value, units[unit])
}

var units = []string{"bytes", "kB", "MB", "GB", "TB", "PB"}

// tryWrite makes a file durable and removes it.
func tryWrite(dir string) (err error) {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := f.Write(make([]byte, 4096)); err != nil {
		return err
	}
	return f.Sync()
}

// tryPublish does in a folder of its own what every result goes through: write, sync, rename, read back.
func tryPublish(root string) (err error) {
	dir, err := os.MkdirTemp(root, ".doctor-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	content := bytes.Repeat([]byte("cultivar\n"), 1000)
	path := filepath.Join(dir, "file")
	if err := files.WriteBytes(path, files.FileMode, content); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	back, err := io.ReadAll(f)
	if err == nil && !bytes.Equal(back, content) {
		err = fmt.Errorf("%d bytes were written, and other ones were read back", len(content))
	}
	return err
}
