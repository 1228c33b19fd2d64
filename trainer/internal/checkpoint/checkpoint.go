// Package checkpoint keeps a training's state on disk, so that another process can go on from there. It does not know
// what the state means beyond its epoch.
package checkpoint

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/durable"
	"github.com/cultivar-ml/cultivar/trainer/internal/finetune"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
)

// Version is the number of the file format, and of what its numbers mean: since 2 heads are trained on features within
// bounds, since 3 the vectors of fine-tuning follow one by one.
const Version = 3

// kept is how many checkpoints stay: the one before is there should the newest turn out unreadable.
const kept = 2

const suffix = ".ckpt"

// Checkpoint is everything a training goes on from.
type Checkpoint struct {
	Version int
	Spec    string         // digest of dataset, edits and recipe as given; a checkpoint of another is never continued
	Key     string         // of the features it was trained on
	Recipe  runspec.Recipe // with every automatic value resolved: none is chosen anew
	State   fit.State
	Tuning  *finetune.State // nil before fine-tuning begins
}

// Epoch counts the finished epochs of all phases.
func (c Checkpoint) Epoch() int {
	if c.Tuning == nil {
		return c.State.Epoch
	}
	return c.State.Epoch + c.Tuning.Epoch
}

// Save writes a checkpoint durably into dir and removes all but the newest two. The content is gob, with its SHA-256
// behind it.
func Save(dir string, c Checkpoint) error {
	c.Version = Version
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write a checkpoint: %w", err)
	}
	err := durable.Write(filepath.Join(dir, fmt.Sprintf("%06d%s", c.Epoch(), suffix)), func(w io.Writer) error {
		hash := sha256.New()
		if err := encode(gob.NewEncoder(io.MultiWriter(w, hash)), c); err != nil {
			return err
		}
		_, err := w.Write(hash.Sum(nil))
		return err
	})
	if err != nil {
		return fmt.Errorf("write a checkpoint: %w", err)
	}
	names, err := list(dir)
	if err != nil {
		return err
	}
	for _, name := range names[:max(0, len(names)-kept)] {
		os.Remove(filepath.Join(dir, name))
	}
	return nil
}

// list returns the names of the checkpoints, oldest first.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list checkpoints: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Load returns the newest undamaged checkpoint in dir of that spec and feature key. found is false when there is none.
func Load(dir, spec, key string) (c Checkpoint, found bool, err error) {
	names, err := list(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Checkpoint{}, false, nil
	}
	if err != nil {
		return Checkpoint{}, false, err
	}
	for _, name := range slices.Backward(names) {
		c, err := read(filepath.Join(dir, name))
		if errors.Is(err, errDamaged) {
			continue
		}
		if err != nil {
			return Checkpoint{}, false, fmt.Errorf("read a checkpoint: %w", err)
		}
		if c.Version == Version && c.Spec == spec && c.Key == key {
			return c, true, nil
		}
	}
	return Checkpoint{}, false, nil
}

// errDamaged is the error of a file that is no checkpoint of this format, or not as it was written.
var errDamaged = errors.New("the checkpoint is damaged")

// read neither holds all of a file in memory nor believes anything of it before its hash has been compared.
func read(path string) (Checkpoint, error) {
	f, err := os.Open(path)
	if err != nil {
		return Checkpoint{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Checkpoint{}, err
	}
	size := info.Size() - sha256.Size
	if size < 0 {
		return Checkpoint{}, errDamaged
	}
	hash, want := sha256.New(), make([]byte, sha256.Size)
	if _, err := io.CopyN(hash, f, size); err != nil {
		return Checkpoint{}, err
	}
	if _, err := io.ReadFull(f, want); err != nil {
		return Checkpoint{}, err
	}
	if !bytes.Equal(hash.Sum(nil), want) {
		return Checkpoint{}, errDamaged
	}
	c, err := decode(gob.NewDecoder(bufio.NewReader(io.NewSectionReader(f, 0, size))))
	if err != nil {
		return Checkpoint{}, errDamaged
	}
	return c, nil
}

// encode puts out the vectors of fine-tuning after the rest and one by one: an encoder holds a whole value in memory.
func encode(to *gob.Encoder, c Checkpoint) error {
	if c.Tuning == nil {
		return to.Encode(c)
	}
	vectors := c.Tuning.Vectors()
	bare := c.Tuning.Bare()
	c.Tuning = &bare
	if err := to.Encode(c); err != nil {
		return err
	}
	for _, v := range vectors {
		if err := to.Encode(v); err != nil {
			return err
		}
	}
	return nil
}

// decode is the inverse of encode.
func decode(from *gob.Decoder) (c Checkpoint, err error) {
	if err := from.Decode(&c); err != nil || c.Tuning == nil {
		return c, err
	}
	for _, v := range c.Tuning.Vectors() {
		if err := from.Decode(v); err != nil {
			return c, err
		}
	}
	return c, nil
}
