package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// account names an account by its number, and by its name where the machine knows one.
func account(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil && u.Username != "" {
		return fmt.Sprintf("%s (%d)", u.Username, uid)
	}
	return strconv.Itoa(uid)
}

// owner is the account that a file belongs to.
func owner(path string) (int, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return int(st.Uid), nil
}

// serverAccount is whom the server runs as, as far as can be told: the owner of its data folder, else the account that
// asks.
func (e *examination) serverAccount() int {
	if uid, err := owner(e.Config.Data); err == nil && uid != 0 {
		return uid
	}
	return os.Geteuid()
}

// closed tells whether a folder cannot be written by the server's account. Root may write everywhere, so its own access
// says nothing of the server's: then the folder's mode decides.
func closed(info fs.FileInfo, path string, server int) bool {
	if os.Geteuid() != 0 || server == 0 {
		return unix.Access(path, unix.W_OK|unix.X_OK) != nil
	}
	st, known := info.Sys().(*syscall.Stat_t)
	if !known || int(st.Uid) == server {
		return info.Mode().Perm()&0o300 != 0o300
	}
	return info.Mode().Perm()&0o022 == 0 // the group may be the server's
}

// mend is what to do about an error on a file or folder of the server.
func mend(err error, dir string, server int) string {
	switch {
	case errors.Is(err, fs.ErrPermission) && server != os.Geteuid():
		return fmt.Sprintf("Run the doctor as the account that the server runs as: sudo -u '#%d' …", server)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("If the server runs as %d, give it the folder: chown -R %d %s", server, server, dir)
	case errors.Is(err, unix.EROFS):
		return fmt.Sprintf("Mount %s for writing; in a container, mount a volume there.", dir)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "Make room: delete datasets and runs nobody needs any more, or give it a larger disk."
	case errors.Is(err, unix.EIO), errors.Is(err, unix.ESTALE):
		return fmt.Sprintf("The disk or share under %s has a fault: see what the system says of it, with dmesg, and mount it anew.", dir)
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, fs.ErrExist):
		return fmt.Sprintf("Something else is in the way at %s: move it, or choose another folder.", dir)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("Make the folder and give it to the server's account: install -d -o %d -m 700 %s", server, dir)
	}
	return fmt.Sprintf("See what the system says of %s, with dmesg and mount.", dir)
}

// reason is what the system says, without the file that a check names itself.
func reason(err error) error {
	var file *fs.PathError
	if errors.As(err, &file) {
		return file.Err
	}
	return err
}
