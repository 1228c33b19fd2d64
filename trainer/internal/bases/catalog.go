// Package bases keeps a folder of base models: bases.json, which lists them, and one canonical safetensors file each,
// named by its SHA-256. It installs from files only; fetching is the set-up scripts' part.
package bases

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/weights"
)

// Entry is one base model in bases.json.
type Entry struct {
	Name         string  `json:"name"`
	Title        string  `json:"title"`
	Size         int     `json:"size"`                    // side of the square input, pixels
	Params       int     `json:"params"`                  // weights without the head
	MACs         int     `json:"macs"`                    // multiply-adds an image
	FeatureDim   int     `json:"feature_dim"`             // how many features a head sees by default, of all depths
	ImageNetTop1 float64 `json:"imagenet_top1,omitempty"` // published accuracy, percent
	File         string  `json:"file"`                    // in the same folder: <sha256>.safetensors
	SHA256       string  `json:"sha256"`                  // of File, hex
	Source       string  `json:"source"`                  // where the weights come from
	SourceSHA256 string  `json:"source_sha256"`           // of the file they were converted from, hex
	License      string  `json:"license"`
	// Unverified says that no hash of the source file is published: what is known of the weights is that names, shapes and
	// finiteness fit.
	Unverified bool `json:"unverified,omitempty"`
}

// Catalog is the content of a folder of bases, best first by published accuracy.
type Catalog struct {
	Dir     string
	Entries []Entry
}

// The canonical file keeps the ImageNet classifier under these names; everything else is "layer/weight".
const (
	imageNetKernel  = "imagenet/kernel" // [features of the last layer,1000]
	imageNetBias    = "imagenet/bias"   // [1000]
	imageNetClasses = 1000
)

// Open reads bases.json in dir. A folder without one is an empty catalog.
func Open(dir string) (Catalog, error) {
	path := filepath.Join(dir, runspec.BasesFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Catalog{Dir: dir}, nil
	}
	if err != nil {
		return Catalog{}, fmt.Errorf("read the list of base models: %w", err)
	}
	catalog := Catalog{Dir: dir}
	if err := json.Unmarshal(data, &catalog.Entries); err != nil {
		return Catalog{}, fmt.Errorf("read the list of base models %q: it is damaged (%w); remove it and install the bases again", path, err)
	}
	for _, e := range catalog.Entries {
		if _, ok := lookUp(e.Name); !ok {
			return Catalog{}, fmt.Errorf("read the list of base models %q: it has a base %q, which this version does not know; install the bases again into another folder", path, e.Name)
		}
		if hash, err := hex.DecodeString(e.SHA256); err != nil || len(hash) != sha256.Size || e.File != e.SHA256+".safetensors" {
			return Catalog{}, fmt.Errorf("read the list of base models %q: base %q names the file %q, which is not its SHA-256; install it again", path, e.Name, e.File)
		}
	}
	return catalog, nil
}

// Entry returns the base of that name; the error says what is installed and how to install.
func (c Catalog) Entry(name string) (Entry, error) {
	var names []string
	for _, e := range c.Entries {
		if e.Name == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	if _, ok := lookUp(name); !ok {
		return Entry{}, fmt.Errorf("there is no base model %q; the known ones are %s", name, strings.Join(network.Names(), ", "))
	}
	installed := "no base model is"
	if len(names) > 0 {
		installed = "only " + strings.Join(names, ", ") + " is"
	}
	return Entry{}, fmt.Errorf("base model %s is not installed in %q: %s; add it with: cultivar-trainer bases add %s FILE --to %q",
		name, c.Dir, installed, name, c.Dir)
}

// Load returns an installed base without a head, its weights and its entry. The file's SHA-256, and every array's name,
// shape and finiteness, are checked.
func Load(dir, name string) (network.Network, network.Weights, Entry, error) {
	net, w, entry, err := load(dir, name)
	if err != nil {
		return network.Network{}, nil, Entry{}, err
	}
	delete(w, imageNetKernel)
	delete(w, imageNetBias)
	return net, w, entry, nil
}

// LoadImageNet returns an installed base with its ImageNet classifier of 1,000 classes as the head.
func LoadImageNet(dir, name string) (network.Network, network.Weights, Entry, error) {
	net, w, entry, err := load(dir, name)
	if err != nil {
		return network.Network{}, nil, Entry{}, err
	}
	whole, err := net.WithHead(imageNetClasses, 0)
	if err != nil {
		return network.Network{}, nil, Entry{}, err
	}
	renameHead(w, "imagenet", network.PredictionsName)
	if err := whole.Validate(w); err != nil {
		return network.Network{}, nil, Entry{}, fmt.Errorf("load base model %s: %w", name, err)
	}
	return whole, w, entry, nil
}

// renameHead moves kernel and bias of one layer to another.
func renameHead(w network.Weights, from, to string) {
	for _, weight := range []string{"/kernel", "/bias"} {
		if t, ok := w[from+weight]; ok {
			w[to+weight] = t
			delete(w, from+weight)
		}
	}
}

func load(dir, name string) (network.Network, network.Weights, Entry, error) {
	fail := func(err error) (network.Network, network.Weights, Entry, error) {
		return network.Network{}, nil, Entry{}, err
	}
	catalog, err := Open(dir)
	if err != nil {
		return fail(err)
	}
	entry, err := catalog.Entry(name)
	if err != nil {
		return fail(err)
	}
	data, err := entry.read(dir)
	if err != nil {
		return fail(err)
	}
	net, w, err := entry.parse(data)
	if err != nil {
		return fail(fmt.Errorf("load base model %s from %q: %w", name, filepath.Join(dir, entry.File), err))
	}
	return net, w, entry, nil
}

// read returns the bytes of an entry's file, whose SHA-256 is checked.
func (e Entry) read(dir string) ([]byte, error) {
	path := filepath.Join(dir, e.File)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load base model %s: %w", e.Name, err)
	}
	if hash := sha256.Sum256(data); hex.EncodeToString(hash[:]) != e.SHA256 {
		return nil, fmt.Errorf("load base model %s: the file %q is damaged (its SHA-256 is %x); install the base again", e.Name, path, hash)
	}
	return data, nil
}

// parse checks every array's name, shape and finiteness.
func (e Entry) parse(data []byte) (network.Network, network.Weights, error) {
	net, err := network.ByName(e.Name)
	if err != nil {
		return network.Network{}, nil, err
	}
	arrays, _, err := weights.ParseSafetensors(data)
	if err != nil {
		return network.Network{}, nil, err
	}
	w, err := weights.Decode(arrays)
	if err != nil {
		return network.Network{}, nil, err
	}
	if err := net.Validate(w); err != nil {
		return network.Network{}, nil, err
	}
	return net, w, nil
}
