// Package archive reads the photos in zip files that strangers made. What an archive claims of itself is held against what is
// there before anything is unpacked, and nothing is ever unpacked under a name of its own: an Archive is a manifest.Tree.
package archive

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/cultivar-ml/cultivar/shared/manifest"
)

// Archive is an open zip file. Its methods may be called from several goroutines.
type Archive struct {
	folders  map[string][]manifest.Entry // by the folder's path
	files    map[string]*zip.File        // by path
	problems []manifest.Problem
	untold   int // problems beyond the first maxTold
}

const (
	maxTold  = 1_000
	maxDepth = 16 // folders of an entry's path: of a dataset's, with some around it
)

// Open looks through the zip file of size bytes in r. The error is an *Error where the file itself is at fault, and r's
// otherwise. r is read for as long as the archive is used.
func Open(r io.ReaderAt, size int64) (*Archive, error) {
	if err := checkDirectory(r, size); err != nil {
		return nil, err
	}
	z, err := zip.NewReader(r, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // names are judged by place
		return nil, readError(err)
	}
	a := &Archive{folders: map[string][]manifest.Entry{".": nil}, files: map[string]*zip.File{}}
	if err := checkEntries(z.File, size); err != nil {
		return nil, err
	}
	slashes := backslashed(z.File)
	for _, f := range z.File {
		a.place(f, slashes)
	}
	if a.untold > 0 {
		a.problems = append(a.problems, manifest.Problem{Severity: manifest.Error, Reason: manifest.BadName, Text: fmt.Sprintf("%d more files of the zip file were left out for the same reasons.", a.untold)})
	}
	return a, nil
}

// Problems are what is to be known of entries that List does not show.
func (a *Archive) Problems() []manifest.Problem { return a.problems }

// List implements manifest.Tree.
func (a *Archive) List(folder string) ([]manifest.Entry, error) {
	entries, ok := a.folders[folder]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: folder, Err: fs.ErrNotExist}
	}
	return append([]manifest.Entry(nil), entries...), nil
}

// Open implements manifest.Tree. Nothing is unpacked before the file is read, and of none more than manifest.MaxFileBytes.
func (a *Archive) Open(name string) (manifest.File, error) {
	f, ok := a.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if err := usable(f); err != nil {
		return nil, err
	}
	return &file{entry: f}, nil
}

// Reader opens a file of an archive from its beginning.
func (a *Archive) Reader(name string) (io.ReadCloser, error) {
	f, ok := a.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return f.Open()
}

// file is unpacked into memory when it is first read.
type file struct {
	entry   *zip.File
	once    sync.Once
	content *bytes.Reader
	err     error
}

// Stat says what the archive says.
func (f *file) Stat() (fs.FileInfo, error) { return f.entry.FileInfo(), nil }

// Close does nothing.
func (f *file) Close() error { return nil }

// ReadAt unpacks the file when it is called first.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.once.Do(func() {
		var content []byte
		if content, f.err = unpack(f.entry); f.err == nil {
			f.content = bytes.NewReader(content)
		}
	})
	if f.err != nil {
		return 0, f.err
	}
	return f.content.ReadAt(p, off)
}

// unpack trusts the size that is claimed only as far as what comes bears it out; the reader compares it and the checksum.
func unpack(f *zip.File) ([]byte, error) {
	if f.UncompressedSize64 > manifest.MaxFileBytes {
		return nil, fmt.Errorf("it has more than %d bytes", int64(manifest.MaxFileBytes))
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var content bytes.Buffer
	_, err = content.ReadFrom(io.LimitReader(r, int64(f.UncompressedSize64)+1))
	switch {
	case errors.Is(err, zip.ErrChecksum):
		return nil, errors.New("its bytes are not those that were put into the zip file")
	case err == nil && content.Len() != int(f.UncompressedSize64):
		return nil, errors.New("its size is not the one that the zip file gives")
	case err != nil:
		return nil, fmt.Errorf("unpack it: %w", err)
	}
	return content.Bytes(), nil
}

// place puts an entry into its folder, and its folder into the one above.
func (a *Archive) place(f *zip.File, slashes bool) {
	name, isFolder := cleaned(f, slashes)
	kind := f.Mode().Type()
	switch {
	case name == ".": // ./, the top itself
	case !within(name):
		a.leave(f, "has a path that leads out of the zip file, so it is left out. Zip the folder again with any common program.")
	case strings.Count(name, "/") > maxDepth:
		a.leave(f, "lies too deep, so it is left out. Move it up.")
	case isFolder:
		if _, taken := a.files[name]; !taken {
			a.makeFolder(name)
		}
	case a.files[name] != nil || a.folders[name] != nil:
		a.leave(f, "is in the zip file twice; the first one is used. Zip the folder again if that is wrong.")
	default:
		a.makeFolder(path.Dir(name))
		if a.files[path.Dir(name)] != nil {
			a.leave(f, "lies in something that is a file, so it is left out. Zip the folder again with any common program.")
			return
		}
		a.files[name] = f
		a.folders[path.Dir(name)] = append(a.folders[path.Dir(name)], manifest.Entry{Name: path.Base(name), Kind: kind})
	}
}

func (a *Archive) makeFolder(name string) {
	if _, known := a.folders[name]; known || a.files[name] != nil {
		return
	}
	above := path.Dir(name)
	a.makeFolder(above)
	a.folders[name] = nil
	a.folders[above] = append(a.folders[above], manifest.Entry{Name: path.Base(name), Kind: fs.ModeDir})
}

func (a *Archive) leave(f *zip.File, why string) {
	if len(a.problems) >= maxTold {
		a.untold++
		return
	}
	name := shown(f.Name)
	a.problems = append(a.problems, manifest.Problem{Severity: manifest.Error, Reason: manifest.BadName, Path: name, Text: name + " " + why})
}
