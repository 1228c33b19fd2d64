package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/server/internal/unpack"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/archive"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

const (
	kindZip = "zip"
	// unpackTime is how long one zip file may take to be looked through and unpacked.
	unpackTime = 30 * time.Minute
	// unpackers is how many are at once.
	unpackers = 2
	// maxReport bounds what an unpacking process says: a thousand problems of each kind and more.
	maxReport = 64 << 20
)

// Imported is what became of a zip file.
type Imported struct {
	Dataset store.Dataset
	Known   bool // the user had it already
	unpack.Report
}

// ImportZip takes in a zip file of at most size bytes that has a folder of photos for each class. The dataset is ready when it returns.
// An *api.Error says what is wrong with the file. When the sender has gone after the last byte, it is taken in all the same.
func (s *Service) ImportZip(ctx context.Context, user, name string, size int64, body io.Reader) (Imported, error) {
	if size > archive.MaxBytes {
		return Imported{}, api.Errorf(api.CodeTooLarge, "A zip file may have at most %d GB; this one would have %d. Make the photos smaller, models look at a few hundred pixels; or send the folder with the terminal program.", int64(archive.MaxBytes)>>30, size>>30)
	}
	if size < 1 {
		return Imported{}, api.Errorf(api.CodeInvalid, "Give the size of the zip file in Content-Length, as curl does for a file.")
	}
	if len(name) > maxName || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return Imported{}, api.Errorf(api.CodeInvalid, "The dataset's name must be UTF-8 of 1 to %d bytes.", maxName)
	}
	if err := s.allowed(ctx, user, size); err != nil {
		return Imported{}, err
	}
	if err := s.room(ctx, 2*size); err != nil { // the file, and what is taken out of it
		return Imported{}, err
	}
	u := store.Upload{ID: auth.NewID(), Owner: user, Kind: kindZip, Size: size, Expires: s.now().Add(uploadLife)}
	if err := s.begin(ctx, u); err != nil {
		return Imported{}, err
	}
	done, err := s.importZip(ctx, u, name, body)
	return done, errors.Join(err, s.drop(context.WithoutCancel(ctx), u))
}

func (s *Service) importZip(ctx context.Context, u store.Upload, name string, body io.Reader) (Imported, error) {
	file, err := s.volume.Path(partName(u))
	if err != nil {
		return Imported{}, err
	}
	if err := receive(file, u.Size, body); err != nil {
		return Imported{}, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unpackTime)
	defer cancel()
	dir, err := s.volume.MkdirAll(folderName(u))
	if err != nil {
		return Imported{}, err
	}
	r, err := s.unpack(ctx, file, name, dir)
	if err != nil {
		return Imported{}, err
	}
	if r.Refused != "" {
		return Imported{}, api.Errorf(api.CodeInvalid, "%s", r.Refused)
	}
	return s.takeUnpacked(ctx, u, dir, r)
}

// receive writes the body, of at most size bytes, to file. It need not be durable: the sender hears of success only when what is
// in it is.
func receive(file string, size int64, body io.Reader) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, files.FileMode)
	if err != nil {
		return fmt.Errorf("receive the zip file: %w", err)
	}
	n, err := io.Copy(f, io.LimitReader(body, size+1))
	if err = errors.Join(err, f.Close()); errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return api.Errorf(api.CodeUnavailable, "The server's disk is full. Delete datasets or runs you no longer need, then try again.")
	}
	if err != nil || n > size {
		return api.Errorf(api.CodeInvalid, "The zip file did not arrive whole: %d of %d bytes came. Send it again.", n, size)
	}
	return nil
}

// unpack has another process do it.
func (s *Service) unpack(ctx context.Context, file, name, dir string) (r unpack.Report, err error) {
	select {
	case s.unpacking <- struct{}{}:
		defer func() { <-s.unpacking }()
	case <-ctx.Done():
		return r, api.Errorf(api.CodeUnavailable, "Other zip files are being looked through. Try again in a while.")
	}
	f, err := os.Open(file)
	if err != nil {
		return r, fmt.Errorf("unpack: %w", err)
	}
	defer func() { _ = f.Close() }()
	var said, complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, s.unpacker[0], append(s.unpacker[1:len(s.unpacker):len(s.unpacker)], "--name="+name, "--into="+dir)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, &limited{&said, maxReport}, &limited{&complaint, 1 << 16}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if ctx.Err() != nil || errors.As(err, &exit) && exit.ExitCode() < 0 {
			return r, api.Errorf(api.CodeInvalid, "Looking through the zip file took more memory or time than it may. Send the folder with the terminal program instead.")
		}
		return r, fmt.Errorf("unpack: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	if err := json.Unmarshal(said.Bytes(), &r); err != nil {
		return r, fmt.Errorf("unpack: understand what it found: %w", err)
	}
	return r, nil
}

// takeUnpacked takes in what was made of a zip file as if its owner had sent it.
func (s *Service) takeUnpacked(ctx context.Context, u store.Upload, dir string, r unpack.Report) (Imported, error) {
	done := Imported{Report: r}
	var err error
	done.Dataset, done.Known, err = s.CreateDataset(ctx, u.Owner, api.DatasetCreate{Name: r.Name, Digest: r.Digest, Images: r.Images, Bytes: r.Bytes})
	if err != nil || done.Known {
		return done, err
	}
	packs, err := filepath.Glob(filepath.Join(dir, unpack.PackFile))
	if err != nil {
		return done, fmt.Errorf("take in a zip file: %w", err)
	}
	for _, name := range packs {
		if err := s.opened(name, func(f *os.File) error { return s.takePack(ctx, u.Owner, f, name) }); err != nil {
			return done, err
		}
	}
	u.Dataset = done.Dataset.ID
	err = s.opened(filepath.Join(dir, runspec.ManifestFile), func(f *os.File) error { return s.takeManifest(ctx, u, f) })
	if err != nil {
		return done, err
	}
	done.Dataset, err = s.store.Dataset(ctx, u.Owner, done.Dataset.ID)
	return done, err
}

func (s *Service) opened(name string, use func(*os.File) error) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("take in a zip file: %w", err)
	}
	defer func() { _ = f.Close() }()
	return use(f)
}

// folderName is where what is made of an upload lies until it is taken in.
func folderName(u store.Upload) string {
	return path.Join(runspec.UserDir(u.Owner), "uploads", u.ID+".d")
}

// limited drops what is beyond a limit.
type limited struct {
	to   *bytes.Buffer
	left int
}

// Write implements io.Writer; it always takes all.
func (l *limited) Write(p []byte) (int, error) {
	n := min(l.left, len(p))
	l.to.Write(p[:n])
	l.left -= n
	return len(p), nil
}
