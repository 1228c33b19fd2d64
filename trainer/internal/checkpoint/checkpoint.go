// Package checkpoint keeps a training's state on disk, so that another process can go on from there. It does not know
// what the state means beyond its epoch.
package checkpoint

import (
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
// bounds.
const Version = 2

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
// in front.
func Save(dir string, c Checkpoint) error {
	c.Version = Version
	var content bytes.Buffer
	if err := gob.NewEncoder(&content).Encode(c); err != nil {
		return fmt.Errorf("write a checkpoint: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write a checkpoint: %w", err)
	}
	hash := sha256.Sum256(content.Bytes())
	err := durable.Write(filepath.Join(dir, fmt.Sprintf("%06d%s", c.Epoch(), suffix)), func(w io.Writer) error {
		if _, err := w.Write(hash[:]); err != nil {
			return err
		}
		_, err := w.Write(content.Bytes())
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
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return Checkpoint{}, false, fmt.Errorf("read a checkpoint: %w", err)
		}
		if len(content) < sha256.Size || sha256.Sum256(content[sha256.Size:]) != [sha256.Size]byte(content[:sha256.Size]) {
			continue
		}
		var c Checkpoint
		if err := gob.NewDecoder(bytes.NewReader(content[sha256.Size:])).Decode(&c); err != nil {
			continue
		}
		if c.Version == Version && c.Spec == spec && c.Key == key {
			return c, true, nil
		}
	}
	return Checkpoint{}, false, nil
}
