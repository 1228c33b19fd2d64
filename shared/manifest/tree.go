package manifest

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// Tree is what a scan reads: a folder of the disk, or an archive that is read like one. Names have forward slashes and are
// relative to its top, which is ".". Its methods may be called from several goroutines.
type Tree interface {
	// List returns what lies in a folder, in any order.
	List(folder string) ([]Entry, error)
	// Open opens a file without waiting for it, whatever it is. A *HeaderError says for people why it cannot be used.
	Open(name string) (File, error)
}

// Entry is a name in a folder of a Tree.
type Entry struct {
	Name string // not a path
	Kind fs.FileMode
}

// File is an open file of a Tree.
type File interface {
	io.ReaderAt
	io.Closer
	Stat() (fs.FileInfo, error)
}

// folder is a Tree of the disk. Links in it are listed and never followed.
type folder struct{ root *os.Root }

// List stops where a folder has more files than a dataset can have.
func (f folder) List(name string) ([]Entry, error) {
	d, err := f.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var out []Entry
	for len(out) <= MaxFiles {
		batch, err := d.ReadDir(1024)
		for _, e := range batch {
			out = append(out, Entry{e.Name(), e.Type()})
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Open does not wait for the other side of a pipe.
func (f folder) Open(name string) (File, error) {
	return f.root.OpenFile(name, os.O_RDONLY|nonblock, 0)
}
