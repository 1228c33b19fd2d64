package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/bench/compare"
	"github.com/cultivar-ml/cultivar/trainer/bench/peers"
	"github.com/cultivar-ml/cultivar/trainer/internal/bases"
)

// baseName is the base model of all systems.
const baseName = "efficientnet_lite0"

// bench is one run of the program.
type bench struct {
	options
	work      string // folder that is gone afterwards
	known     []compare.Set
	manifests map[string]*manifest.Manifest // by the set's name
	base      string                        // the base model as a Keras file
	features  string                        // its layer of pooled features
}

// prepare makes all that no system's time counts: scans the sets, which also brings their files into memory for all
// alike, and writes the base model for the peers.
func (b *bench) prepare(ctx context.Context) error {
	for _, p := range []*string{&b.data, &b.bin, &b.bases, &b.peers, &b.python} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	if err := b.tools(); err != nil {
		return err
	}
	b.manifests = map[string]*manifest.Manifest{}
	for _, name := range b.sets {
		m, err := manifest.Scan(ctx, b.folder(name), manifest.ScanOptions{})
		if err != nil {
			return fmt.Errorf("scan the set %s: %w", name, err)
		}
		if text := m.Trainable(); text != "" {
			return fmt.Errorf("the set %s cannot be trained on: %s", name, text)
		}
		b.manifests[name] = m
		b.known = append(b.known, compare.Set{Name: name, Images: len(m.Images), Classes: len(m.Classes)})
	}
	net, weights, _, err := bases.Load(b.bases, baseName)
	if err != nil {
		return err
	}
	b.base, b.features = filepath.Join(b.work, "base.h5"), net.Features
	return peers.WriteBase(b.base, net, weights)
}

// tools checks that what is to be measured is there.
func (b *bench) tools() error {
	for _, s := range b.systems {
		path, hint := b.python, "make it with: trainer/bench/peers/install.sh"
		if s.Own() {
			path, hint = filepath.Join(b.bin, "cultivar"), "build it with: make build"
		}
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%s needs %s, which is missing; %s", s, path, hint)
		}
	}
	return nil
}

func (b *bench) folder(set string) string { return filepath.Join(b.data, set) }

// splitFor divides a set as the project does with that seed.
func (b *bench) splitFor(c compare.Cell) ([]peers.Line, error) {
	r := runspec.Default(runspec.Quick) // all presets have the same shares
	lines := peers.Split(b.manifests[c.Set.Name], manifest.SplitOptions{Seed: c.Seed, Validation: r.Validation, Test: r.Test})
	if !slices.ContainsFunc(lines, func(l peers.Line) bool { return l.Split == manifest.Test }) {
		return nil, fmt.Errorf("the set %s has no photos to test on; use one with more photos", c.Set.Name)
	}
	return lines, nil
}
