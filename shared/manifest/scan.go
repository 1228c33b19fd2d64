package manifest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Near says whether Scan looks for near-duplicates, for which each image has to be decoded.
type Near int

// NearAuto looks when it takes minutes at most: up to 20,000 images and 10,000 megapixels.
const (
	NearAuto Near = iota
	NearAlways
	NearNever
)

const (
	nearMaxImages = 20_000
	nearMaxPixels = 10_000_000_000
	reportEvery   = 100 * time.Millisecond
)

// ScanOptions follows and tunes a scan; the zero value is a good one.
type ScanOptions struct {
	// Progress hears how far the scan is, at most ten times a second and once at the end of each stage, always from one
	// goroutine. What it is given is its own. A slow Progress does not slow the scan.
	Progress func(Progress)
	// Headers gets the dataset as soon as all headers are read, from the goroutine that called Scan: with all problems but
	// duplicates, and images without SHA256 and DHash. It is its own to keep.
	Headers func(*Manifest)
	// Cache is a file that remembers hashes by path, size, time and inode, so that the next scan of the same folder computes
	// none. It is written at the end; one that cannot be read or written is done without. Empty: none.
	Cache string
	// Near says whether to look for near-duplicates.
	Near Near
	// Workers is how many files are read at once; 0: one a core.
	Workers int
}

// Stage is a part of a scan.
type Stage string

// The stages in their order.
const (
	Listing Stage = "listing" // folders
	Headers Stage = "headers"
	Hashing Stage = "hashing"
)

// Progress is how far a scan is.
type Progress struct {
	Stage       Stage
	Files       int          // seen, hidden ones not counted
	Checked     int          // of them, those whose header was read
	Images      int          // of them, those that can be used
	Bytes       int64        // of the images
	Hashed      int          // of the images
	HashedBytes int64        // likewise
	Cached      int          // of Hashed, those the cache knew
	Problems    int          // errors and warnings so far
	Classes     []ClassCount // sorted by name; images that can be used
}

// ClassCount is how many images a class has.
type ClassCount struct {
	Class  string
	Images int
}

// scanner is one scan under way.
type scanner struct {
	ctx   context.Context
	opts  ScanOptions
	tree  Tree
	name  string // of the dataset
	near  bool
	cache *cache

	layout layout
	images []*scanned // in the order of layout.files; unusable ones too

	mu       sync.Mutex // guards progress
	progress Progress
	classes  map[string]int
}

// scanned is one file with all that is known about it.
type scanned struct {
	file
	Image
	mtime    int64 // nanoseconds
	inode    uint64
	decoded  string // difference hash, undecodable, featureless; empty: not looked at
	problems []Problem
	skipped  Reason // why it is left out; empty: it is used
}

// Scan reads the dataset in the folder root: one folder per class, perhaps within one wrapping folder or within train/,
// val/ and test/ folders. Folders within a class belong to the class. Links are never followed. It fails only when root
// itself cannot be read or ctx ends; whatever else is wrong is a Problem.
func Scan(ctx context.Context, root string, opts ScanOptions) (*Manifest, error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, rootError(root, err)
	}
	defer dir.Close()
	m, err := scan(ctx, folder{dir}, datasetName(root), opts)
	if err != nil && ctx.Err() == nil {
		return nil, rootError(root, err)
	}
	return m, err
}

// ScanTree is Scan of a tree that is no folder, such as an archive, of which name says what the dataset is called. Whatever
// part of a path of the disk name is, its last part counts.
func ScanTree(ctx context.Context, tree Tree, name string, opts ScanOptions) (*Manifest, error) {
	return scan(ctx, tree, datasetName(name), opts)
}

func scan(ctx context.Context, tree Tree, name string, opts ScanOptions) (*Manifest, error) {
	if opts.Workers < 1 {
		opts.Workers = runtime.GOMAXPROCS(0)
	}
	s := &scanner{ctx: ctx, opts: opts, tree: tree, name: name, classes: map[string]int{}}
	s.cache = openCache(opts.Cache)
	stop := s.report()
	defer stop()

	s.stage(Listing)
	var err error
	if s.layout, err = s.walk(); err != nil {
		return nil, err
	}
	s.stage(Headers)
	if err := s.readHeaders(); err != nil {
		return nil, err
	}
	if opts.Headers != nil {
		opts.Headers(s.manifest())
	}
	s.stage(Hashing)
	if err := s.hash(); err != nil {
		return nil, err
	}
	s.duplicates()
	m := s.manifest()
	// Losing the cache costs time at the next scan, nothing else.
	_ = s.cache.save(s.images)
	return m, nil
}

func rootError(root string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no folder %s: check its name", printable(root))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the system does not let you read the folder %s: check its permissions", printable(root))
	}
	return fmt.Errorf("read the folder %s: %w", printable(root), err)
}

// datasetName is the folder's own name.
func datasetName(root string) string {
	if abs, err := filepath.Abs(root); err == nil {
		root = abs
	}
	name := cleanName(filepath.Base(root))
	for len(name) > maxName {
		name = string([]rune(name)[:len([]rune(name))-1])
	}
	return name
}

func (s *scanner) stage(stage Stage) {
	s.update(func(p *Progress) { p.Stage = stage })
}

func (s *scanner) update(change func(*Progress)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.progress)
}

// report calls Progress until the returned function is called, which makes a last call.
func (s *scanner) report() (stop func()) {
	if s.opts.Progress == nil {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(reportEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.opts.Progress(s.snapshot())
			case <-done:
				s.opts.Progress(s.snapshot())
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

func (s *scanner) snapshot() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.progress
	for _, c := range sortedKeys(s.classes) {
		p.Classes = append(p.Classes, ClassCount{c, s.classes[c]})
	}
	return p
}

// each calls do for every image on all workers, until done or cancelled.
func (s *scanner) each(images []*scanned, do func(*scanned)) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(s.opts.Workers, len(images)) {
		wg.Go(func() {
			for s.ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(images) {
					return
				}
				do(images[i])
			}
		})
	}
	wg.Wait()
	if err := s.ctx.Err(); err != nil {
		return fmt.Errorf("scan stopped: %w", err)
	}
	return nil
}

func sortScanned(images []*scanned) {
	slices.SortFunc(images, func(a, b *scanned) int { return compareImages(a.Image, b.Image) })
}

// used returns the images that are not left out.
func (s *scanner) used() []*scanned {
	var out []*scanned
	for _, im := range s.images {
		if im.skipped == "" {
			out = append(out, im)
		}
	}
	return out
}

// manifest is what is known now.
func (s *scanner) manifest() *Manifest {
	m := &Manifest{Name: s.name, Skipped: map[Reason]int{}}
	problems := slices.Clone(s.layout.problems)
	for reason, n := range s.layout.skipped {
		m.Skipped[reason] += n
	}
	for _, im := range s.images {
		problems = append(problems, im.problems...)
		if im.skipped != "" {
			m.Skipped[im.skipped]++
			continue
		}
		m.Images = append(m.Images, im.Image)
	}
	slices.SortFunc(m.Images, compareImages)
	for i, im := range m.Images {
		if i == 0 || im.Class != m.Images[i-1].Class {
			m.Classes = append(m.Classes, im.Class)
		}
	}
	problems = append(problems, s.layout.classProblems(m)...)
	m.Problems = tidy(problems)
	return m
}
