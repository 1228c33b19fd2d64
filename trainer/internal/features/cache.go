// Package features computes what a frozen network makes of images, pooled features and activations at a cut, once: they are
// kept in a content-addressed cache, which any number of processes may read and add to. It learns nothing from them.
package features

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	graft "github.com/wamuir/graft/tensorflow"

	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/durable"
	"github.com/cultivar-ml/cultivar/trainer/internal/half"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Key is everything that the values of features depend on beside the image. Its hash names a folder of the cache.
type Key struct {
	Format        int      `json:"format"`           // of the segments
	Base          string   `json:"base"`             // SHA-256 of the base's canonical weights
	Cut           string   `json:"cut"`              // the layer whose output is kept
	Joined        []string `json:"joined,omitempty"` // what that layer joins, if it does
	Dim           int      `json:"dim"`
	ImageSize     int      `json:"image_size"`
	Preprocessing int      `json:"preprocessing"` // data.Version
	Fit           data.Fit `json:"fit"`
	Batch         int      `json:"batch"` // TensorFlow's results depend on it in the last bits
	Processor     string   `json:"processor"`
	TensorFlow    string   `json:"tensorflow"`
}

// NewKey is the key of features of net, whose weights have that SHA-256, on this machine with this build.
func NewKey(base string, net network.Network, fit data.Fit) Key {
	k := Key{Format: 1, Base: base, Cut: net.Features, Dim: net.FeatureDim, ImageSize: net.Size,
		Preprocessing: data.Version, Fit: fit, Batch: batchSize, Processor: processor(), TensorFlow: graft.Version()}
	if features, _ := net.Layer(net.Features); features.Kind == network.Concatenate {
		k.Joined = features.Inputs
	}
	return k
}

// NewActivationKey is the key of what the part of net behind cut, one of its Cuts, needs: the activation there.
func NewActivationKey(base string, net network.Network, cut string, fit data.Fit) (Key, error) {
	k := NewKey(base, net, fit)
	behind, err := net.Suffix(cut)
	if err != nil {
		return k, err
	}
	shapes, err := behind.Shapes()
	if err != nil {
		return k, err
	}
	k.Cut, k.Joined, k.Dim = cut, nil, 1
	for _, d := range shapes[cut] {
		k.Dim *= d
	}
	return k, nil
}

// RowBytes is what a row takes on disk.
func (k Key) RowBytes() int64 { return 2*int64(k.Dim) + entryBytes }

// Name is the name of the key's folder.
func (k Key) Name() string {
	b, err := json.Marshal(k)
	if err != nil {
		return "" // a struct of text and numbers always encodes
	}
	hash := sha256.Sum256(b)
	return hex.EncodeToString(hash[:])
}

// processor names the instruction sets that change which kernels TensorFlow picks.
func processor() string {
	sets := []string{runtime.GOARCH}
	info, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return sets[0]
	}
	defer info.Close()
	lines := bufio.NewScanner(info)
	lines.Buffer(nil, 1<<16)
	for lines.Scan() {
		name, flags, _ := strings.Cut(lines.Text(), ":")
		if strings.TrimSpace(name) != "flags" {
			continue
		}
		for _, flag := range strings.Fields(flags) {
			if strings.HasPrefix(flag, "avx") || strings.HasPrefix(flag, "amx") || flag == "fma" {
				sets = append(sets, flag)
			}
		}
		break
	}
	slices.Sort(sets[1:])
	return strings.Join(sets, " ")
}

// Cache is one key's folder.
type Cache struct {
	dir    string
	writer string
	key    Key
}

// Open makes the key's folder in root if it is missing, and marks it as used now, which what is evicted goes by. writer names this process in the names of its segments; no
// other process that writes at the same time may have the same name.
func Open(root string, key Key, writer string) (*Cache, error) {
	c := &Cache{dir: filepath.Join(root, key.Name()), writer: writer, key: key}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, fmt.Errorf("open the feature cache: %w", err)
	}
	path := filepath.Join(c.dir, "key.json")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		readable, err := json.MarshalIndent(key, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("open the feature cache: %w", err)
		}
		if err := durable.WriteBytes(path, append(readable, '\n')); err != nil {
			return nil, fmt.Errorf("open the feature cache: %w", err)
		}
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // at worst it is evicted sooner
	return c, nil
}

// Set gives the features of a list of rows, as far as the cache has them undamaged. Read may be called from several
// goroutines.
type Set struct {
	dim      int
	segments []*os.File
	at       []location
	buffers  sync.Pool // *[]byte of a row: large sets are read in each epoch
}

// Find looks the rows up. Every value that is found is read and checked once, so that a damaged one counts as missing.
// The caller closes the set.
func (c *Cache) Find(rows []Row) (*Set, error) {
	s := &Set{dim: c.key.Dim, at: make([]location, len(rows))}
	s.buffers.New = func() any { return new(make([]byte, 2*s.dim)) }
	wanted := make(map[Row][]int, len(rows))
	for i, row := range rows {
		s.at[i].segment = -1
		wanted[row] = append(wanted[row], i)
	}
	names, err := filepath.Glob(filepath.Join(c.dir, "*.seg"))
	if err != nil {
		return nil, fmt.Errorf("list the feature cache: %w", err)
	}
	for _, name := range names {
		if err := s.open(name, wanted); err != nil {
			s.Close()
			return nil, fmt.Errorf("read the feature cache: %w", err)
		}
	}
	return s, nil
}

// open takes from a segment what is wanted and was not found before.
func (s *Set) open(name string, wanted map[Row][]int) error {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) { // evicted in between
		return nil
	}
	if err != nil {
		return err
	}
	entries, rows, err := readIndex(f, s.dim)
	if err != nil {
		f.Close()
		if errors.Is(err, errTorn) {
			return nil
		}
		return err
	}
	used := false
	buffer := make([]byte, 2*s.dim)
	for i, e := range entries {
		indices := wanted[e.row]
		if len(indices) == 0 || s.at[indices[0]].segment >= 0 {
			continue
		}
		at := location{segment: len(s.segments), offset: rows + int64(i)*int64(len(buffer)), crc: e.crc}
		if _, err := f.ReadAt(buffer, at.offset); err != nil || castagnoli(buffer) != e.crc {
			continue
		}
		for _, index := range indices {
			s.at[index] = at
		}
		used = true
	}
	if !used {
		return f.Close()
	}
	s.segments = append(s.segments, f)
	return nil
}

// Len is the number of rows asked for.
func (s *Set) Len() int { return len(s.at) }

// Has tells whether row i was found.
func (s *Set) Has(i int) bool { return s.at[i].segment >= 0 }

// found tells of each row whether it was found.
func (s *Set) found() []bool {
	all := make([]bool, s.Len())
	for i := range all {
		all[i] = s.Has(i)
	}
	return all
}

// Dim is the length of a row.
func (s *Set) Dim() int { return s.dim }

// Read fills dst, of length Dim, with row i, which the set must have.
func (s *Set) Read(i int, dst []float32) error {
	pooled := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(pooled)
	buffer := *pooled
	if err := s.ReadHalves(i, buffer); err != nil {
		return err
	}
	for j := range dst[:s.dim] {
		dst[j] = half.Value(uint16(buffer[2*j]) | uint16(buffer[2*j+1])<<8)
	}
	return nil
}

// ReadHalves fills dst, two bytes for each of Dim numbers, with row i as it is stored: float16, little-endian.
func (s *Set) ReadHalves(i int, dst []byte) error {
	at := s.at[i]
	if at.segment < 0 {
		return fmt.Errorf("read features: row %d was never computed", i)
	}
	if _, err := s.segments[at.segment].ReadAt(dst[:2*s.dim], at.offset); err != nil {
		return fmt.Errorf("read features: %w", err)
	}
	if castagnoli(dst[:2*s.dim]) != at.crc {
		return fmt.Errorf("read features: %q has changed on disk; start the training again", s.segments[at.segment].Name())
	}
	return nil
}

// Close frees the set's files.
func (s *Set) Close() {
	for _, f := range s.segments {
		f.Close()
	}
	s.segments = nil
}
