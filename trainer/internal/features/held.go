package features

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cultivar-ml/cultivar/trainer/internal/data"
)

// Views is a set of views of one image: bit v is view v.
type Views uint32

// Has tells whether a view is among them.
func (v Views) Has(view int) bool { return view < 32 && v>>view&1 == 1 }

// Held tells of each image which views of it a key's folder in root holds. Only the indexes are read: a row whose values
// are damaged is found out when it is used. A cache that does not exist holds nothing.
func Held(root string, key Key) (map[data.Hash]Views, error) {
	names, err := filepath.Glob(filepath.Join(root, key.Name(), "*.seg"))
	if err != nil {
		return nil, fmt.Errorf("list the feature cache: %w", err)
	}
	held := map[data.Hash]Views{}
	for _, name := range names {
		entries, err := entriesOf(name, key.Dim)
		if errors.Is(err, errTorn) || errors.Is(err, fs.ErrNotExist) { // evicted in between
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the feature cache: %w", err)
		}
		for _, e := range entries {
			if e.row.View < 32 {
				held[e.row.Hash] |= 1 << e.row.View
			}
		}
	}
	return held, nil
}

func entriesOf(name string, dim int) ([]entry, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, _, err := readIndex(f, dim)
	return entries, err
}
