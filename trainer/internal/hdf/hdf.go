// Package hdf reads and writes the part of HDF5 that Keras files use: groups, text attributes and float arrays.
// It hides the traps of the C library and its binding: one lock for the whole process, handles that are all closed,
// attributes larger than 64 KiB, and buffers that are checked before C code fills them. It is no general HDF5 layer.
package hdf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"gonum.org/v1/hdf5"

	"github.com/cultivar-ml/cultivar/trainer/internal/durable"
)

// library is held during every call into HDF5. The C library keeps process-wide state (identifiers, caches) and many
// distributions build it without thread safety, so two goroutines inside it at once corrupt memory. The state that it
// guards is the library's and is global, which is why the lock is too.
var library sync.Mutex

// enter takes the lock and returns what gives it back. Builds with thread safety keep the setting that silences error
// dumps on standard error per thread, so the goroutine stays on one thread and sets it there.
func enter() (leave func(), err error) {
	library.Lock()
	runtime.LockOSThread()
	leave = func() {
		runtime.UnlockOSThread()
		library.Unlock()
	}
	if err := hdf5.DisplayErrors(false); err != nil {
		leave()
		return nil, fmt.Errorf("set up HDF5: %w", err)
	}
	return leave, nil
}

// maxBytes bounds one attribute or dataset that is read, so that a damaged header cannot ask for all memory: the
// largest array of the networks here has 1,000 classes × 1,280 features × 4 bytes.
const maxBytes = 1 << 30

// Group is a group of an open file. It is valid inside the function given to Create or Open only.
type Group struct {
	group *hdf5.Group
	file  *session
	path  string
}

// session remembers all that was opened, down to shapes and types, and closes it at the end: HDF5 keeps a file open, and
// unfinished on disk, until its last handle is closed.
type session struct {
	handles []interface{ Close() error }
}

func (s *session) keep(h interface{ Close() error }) { s.handles = append(s.handles, h) }

func (s *session) close() (first error) {
	for _, h := range slices.Backward(s.handles) {
		if err := h.Close(); first == nil {
			first = err
		}
	}
	return first
}

// Create makes the file at path, replacing one that exists, and calls write with its root group. The file is complete
// when Create returns nil, but not yet synced. No other HDF5 call of this package runs meanwhile; write must not call
// Create or Open.
func Create(path string, write func(root Group) error) error {
	leave, err := enter()
	if err != nil {
		return err
	}
	defer leave()
	f, err := hdf5.CreateFile(path, hdf5.F_ACC_TRUNC)
	if err != nil {
		return fmt.Errorf("create HDF5 file %q: %w", path, err)
	}
	if err := run(f, write); err != nil { // the library does not say why
		return errors.Join(err, durable.Probe(filepath.Dir(path)))
	}
	return nil
}

// Open opens the file at path for reading and calls read with its root group; the rules of Create hold.
func Open(path string, read func(root Group) error) error {
	// The library reports every failure as a number; the usual ones get the system's own words.
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	f.Close()
	leave, err := enter()
	if err != nil {
		return err
	}
	defer leave()
	if !hdf5.IsHDF5(path) {
		return fmt.Errorf("%q is not an HDF5 file", path)
	}
	h, err := hdf5.OpenFile(path, hdf5.F_ACC_RDONLY)
	if err != nil {
		return fmt.Errorf("open HDF5 file %q (damaged or cut short?): %w", path, err)
	}
	return run(h, read)
}

func run(f *hdf5.File, use func(Group) error) (err error) {
	s := &session{}
	defer func() {
		if closed := s.close(); err == nil {
			err = closed
		}
	}()
	s.keep(f)
	// A file itself takes no attributes in this binding; its root group does.
	g, err := f.OpenGroup("/")
	if err != nil {
		return fmt.Errorf("open root group: %w", err)
	}
	s.keep(g)
	return use(Group{group: g, file: s, path: "/"})
}

// Path is the group's place in the file, beginning with "/".
func (g Group) Path() string { return g.path }

func (g Group) child(name string) string {
	if g.path == "/" {
		return "/" + name
	}
	return g.path + "/" + name
}

// Has tells whether the group holds a group or dataset of that name (no slashes).
func (g Group) Has(name string) bool { return g.group.LinkExists(name) }

// CreateGroup makes a group below g; name holds no slash.
func (g Group) CreateGroup(name string) (Group, error) {
	c, err := g.group.CreateGroup(name)
	if err != nil {
		return Group{}, fmt.Errorf("create group %q: %w", g.child(name), err)
	}
	g.file.keep(c)
	return Group{group: c, file: g.file, path: g.child(name)}, nil
}

// Group opens the group at name, which may be a path below g.
func (g Group) Group(name string) (Group, error) {
	c, err := g.group.OpenGroup(name)
	if err != nil {
		return Group{}, fmt.Errorf("group %q is missing: %w", g.child(name), err)
	}
	g.file.keep(c)
	return Group{group: c, file: g.file, path: g.child(name)}, nil
}

// Names lists what the group holds, sorted by name.
func (g Group) Names() ([]string, error) {
	n, err := g.group.NumObjects()
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", g.path, err)
	}
	names := make([]string, n)
	for i := range names {
		if names[i], err = g.group.ObjectNameByIndex(uint(i)); err != nil {
			return nil, fmt.Errorf("list %q: %w", g.path, err)
		}
	}
	return names, nil
}
