package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/runner/kubernetes"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// volume looks at the folder that server and trainers share.
func (e *examination) volume(ctx context.Context) []Check {
	const name = "volume"
	dir, server := e.Config.Volume, e.serverAccount()
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []Check{e.absentVolume()}
	case err != nil:
		return []Check{failed(name, mend(err, dir, server), "%v", err)}
	case !info.IsDir():
		return []Check{failed(name, mend(unix.ENOTDIR, dir, server), "%s is a file, but the server needs a folder there", dir)}
	}
	if err := tryPublish(dir); err != nil {
		return []Check{failed(name, mend(err, dir, server), "%s cannot be written by %s: %v", dir, account(os.Geteuid()), reason(err)), e.volumeDisk()}
	}
	return []Check{e.volumeFolders(ctx, info), e.volumeDisk()}
}

func (e *examination) absentVolume() Check {
	const name = "volume"
	dir := e.Config.Volume
	if running, err := e.running(); e.Config.Runner == config.RunnerKubernetes || running || err != nil {
		return failed(name, "Mount the shared volume there, at the same path as the setting volume; or mend that setting.", "%s is not there", dir)
	}
	return ok(name, "%s is not there yet; the server makes it when it starts", dir)
}

// volumeFolders looks for folders that server or trainers cannot write: one that a kubelet made for a mount is root's.
func (e *examination) volumeFolders(ctx context.Context, root fs.FileInfo) Check {
	const name = "volume"
	dir, server := e.Config.Volume, e.serverAccount()
	if closed(root, dir, server) {
		return failed(name, fmt.Sprintf("Give it to the server's account: chown %d %s", server, dir), "%s cannot be written by the server's account, %s", dir, account(server))
	}
	n, shut, err := e.shutFolders(ctx, server)
	if err != nil {
		return failed(name, mend(err, dir, server), "%v", err)
	}
	if len(shut) > 0 {
		more := ""
		if len(shut) > 1 {
			more = fmt.Sprintf(", and %d more", len(shut)-1)
		}
		return failed(name, fmt.Sprintf("Give the folders to the server's account: chown -R %d %s", server, filepath.Join(dir, filepath.Dir(runspec.UserDir("x")))),
			"%s%s cannot be written by the server's account, %s", shut[0], more, account(server))
	}
	if e.Config.Runner == config.RunnerKubernetes && server != kubernetes.User {
		return warning(name, fmt.Sprintf("Run the server as %d too, and give it its folders: chown -R %d %s %s", kubernetes.User, kubernetes.User, e.Config.Data, dir),
			"%s can be written by %s, but trainers run as %d and cannot open what another account makes there", dir, account(server), kubernetes.User)
	}
	users := ""
	if n > 0 {
		users = fmt.Sprintf("; %s of users can be written", count(n, "folder", "folders"))
	}
	return ok(name, "%s takes files durably: written, synced, renamed, read back, removed%s", dir, users)
}

// shutFolders goes through the folders that pods mount, users/USER/KIND, and those above them.
func (e *examination) shutFolders(ctx context.Context, server int) (n int, shut []string, err error) {
	depth := 3
	level := []string{filepath.Join(e.Config.Volume, filepath.Dir(runspec.UserDir("x")))}
	for ; depth > 0; depth-- {
		var below []string
		for _, dir := range level {
			info, err := os.Stat(dir)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return n, nil, err
			}
			if !info.IsDir() {
				return n, nil, &fs.PathError{Op: "open", Path: dir, Err: unix.ENOTDIR}
			}
			n++
			if closed(info, dir, server) {
				shut = append(shut, dir)
				continue
			}
			entries, err := os.ReadDir(dir)
			if err = cmp.Or(err, ctx.Err()); err != nil {
				return n, nil, err
			}
			for _, entry := range entries {
				if entry.IsDir() {
					below = append(below, filepath.Join(dir, entry.Name()))
				}
			}
		}
		level = below
	}
	return n, shut, nil
}

func (e *examination) volumeDisk() Check {
	dir := e.Config.Volume
	network, err := files.Network(dir)
	if err != nil {
		return failed("volume disk", mend(err, dir, os.Geteuid()), "%v", err)
	}
	free, total, err := files.Free(dir)
	if err != nil {
		return failed("volume disk", mend(err, dir, os.Geteuid()), "%v", err)
	}
	return room("volume disk", cmp.Or(network, "local disk"), free, total, leastVolume, true)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
