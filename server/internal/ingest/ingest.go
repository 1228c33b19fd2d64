// Package ingest takes datasets in: it announces them, says which images are missing, receives packs and manifests by
// resumable upload, and makes a dataset ready once every image of it is durable. It looks at hashes and never at pixels.
package ingest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/failpoint"
	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

const (
	// MaxHashes is how many images one question about missing ones may name.
	MaxHashes = 10_000
	// maxName bounds a dataset's name, in bytes.
	maxName = 200
	// uploadLife is how long an upload may rest before it is given up.
	uploadLife = 24 * time.Hour
	// minFree is the share of the disk that must stay free: below it databases and checkpoints of others would fail.
	minFree = 0.05
)

// Options are what a Service works with.
type Options struct {
	Store  *store.Store
	Volume *files.Volume
	Now    func() time.Time
	Free   func() (free, total uint64, err error) // bytes of the disk; nil: ask the volume
	Quota  int64                                  // bytes of photos that a user may have; 0: as many as there is room for
	// Unpack is the command that runs package unpack; it gets the flags --name and --into, and the zip file as its input.
	Unpack []string
}

// Service takes datasets in. Its methods may be called from any goroutine.
type Service struct {
	store  *store.Store
	volume *files.Volume
	now    func() time.Time
	free   func() (free, total uint64, err error)

	quota     int64
	unpacker  []string
	unpacking chan struct{} // as many as are at once

	// packs is held while a pack's file and rows change together, so that deleting one dataset cannot remove a file
	// that another upload has just found to be there.
	packs sync.Mutex
}

// New returns a Service.
func New(o Options) *Service {
	if o.Free == nil {
		o.Free = o.Volume.Free
	}
	return &Service{store: o.Store, volume: o.Volume, now: o.Now, free: o.Free, quota: o.Quota, unpacker: o.Unpack, unpacking: make(chan struct{}, unpackers)}
}

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// CreateDataset announces a dataset. known tells that the user has it already, ready to be trained on.
func (s *Service) CreateDataset(ctx context.Context, user string, c api.DatasetCreate) (d store.Dataset, known bool, err error) {
	if err := checkDataset(c); err != nil {
		return store.Dataset{}, false, err
	}
	d, _, err = s.store.AddDataset(ctx, store.Dataset{
		ID: auth.NewID(), Owner: user, Name: strings.TrimSpace(c.Name), Digest: c.Digest, Images: c.Images, Bytes: c.Bytes,
	})
	if err != nil {
		return store.Dataset{}, false, err
	}
	if known = d.State == api.DatasetReady; known {
		return d, true, nil
	}
	return d, false, s.room(ctx, 0)
}

func checkDataset(c api.DatasetCreate) error {
	wrong := map[string]string{}
	if n := strings.TrimSpace(c.Name); n == "" || len(n) > maxName || !utf8.ValidString(n) {
		wrong["name"] = fmt.Sprintf("give a name of 1 to %d bytes", maxName)
	}
	if !digestForm.MatchString(c.Digest) {
		wrong["digest"] = "must be 64 lower-case hex digits"
	}
	if c.Images < 1 || c.Images > manifest.MaxFiles {
		wrong["images"] = fmt.Sprintf("must be between 1 and %d", manifest.MaxFiles)
	}
	if c.Bytes < 1 {
		wrong["bytes"] = "must be at least 1"
	}
	if len(wrong) == 0 {
		return nil
	}
	e := api.Errorf(api.CodeInvalid, "The dataset's description has a wrong value.")
	e.Fields = &wrong
	return e
}

// room refuses early what the disk cannot take beside what uploads that have begun may still bring.
func (s *Service) room(ctx context.Context, need int64) error {
	free, total, err := s.free()
	if err != nil || total == 0 { // some overlay file systems tell no size
		return err
	}
	reserved, err := s.store.ReservedBytes(ctx)
	if err != nil {
		return err
	}
	if float64(free)-float64(reserved+need) < minFree*float64(total) {
		return api.Errorf(api.CodeUnavailable,
			"The server's disk is almost full: %d MB are free, %d MB are on their way, and %d MB must stay free. Delete datasets or runs you no longer need, then try again.",
			free>>20, (reserved+need)>>20, int64(minFree*float64(total))>>20)
	}
	return nil
}

// Missing answers for each SHA-256 of the concatenated hashes whether the user still has to send that image: bit i of the
// bitmap, lowest bit first, is 1 when it is missing.
func (s *Service) Missing(ctx context.Context, user string, hashes []byte) ([]byte, error) {
	const size = 32
	if len(hashes) == 0 || len(hashes)%size != 0 || len(hashes) > MaxHashes*size {
		return nil, api.Errorf(api.CodeInvalid, "Send 1 to %d SHA-256 hashes of %d bytes each; %d bytes came.", MaxHashes, size, len(hashes))
	}
	var names []string
	for i := 0; i < len(hashes); i += size {
		names = append(names, hex.EncodeToString(hashes[i:i+size]))
	}
	have, err := s.store.Blobs(ctx, user, names)
	if err != nil {
		return nil, err
	}
	bitmap := make([]byte, (len(names)+7)/8)
	for i, n := range names {
		if _, ok := have[n]; !ok {
			bitmap[i/8] |= 1 << (i % 8)
		}
	}
	return bitmap, nil
}

// DeleteDataset forgets a dataset with the packs that only it lies in.
func (s *Service) DeleteDataset(ctx context.Context, user, id string) error {
	s.packs.Lock()
	defer s.packs.Unlock()
	d, err := s.store.Dataset(ctx, user, id)
	if err != nil {
		return err
	}
	packs, err := s.store.DeleteDataset(ctx, user, id)
	if errors.Is(err, store.ErrConflict) {
		return api.Errorf(api.CodeConflict, "The dataset is in use by a run that has not ended. Cancel that run first, or wait for it.")
	}
	if err != nil {
		return err
	}
	failpoint.Hit("ingest.deleted")
	// Rows first: a crash here leaves files that nothing names, never a row whose file is gone.
	errs := []error{s.volume.Remove(runspec.DatasetDir(user, d.Digest))}
	for _, p := range packs {
		errs = append(errs, s.volume.Remove(PackName(user, p)))
	}
	return errors.Join(errs...)
}

// Clean gives up every upload whose time is over.
func (s *Service) Clean(ctx context.Context) error {
	expired, err := s.store.ExpiredUploads(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, u := range expired {
		errs = append(errs, s.drop(ctx, u))
	}
	return errors.Join(errs...)
}

func (s *Service) drop(ctx context.Context, u store.Upload) error {
	file, err := s.volume.Path(partName(u))
	if err != nil {
		return err
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove upload: %w", err)
	}
	if err := s.volume.Remove(folderName(u)); err != nil {
		return err
	}
	return s.store.DeleteUpload(ctx, u.Owner, u.ID)
}

func partName(u store.Upload) string {
	return path.Join(runspec.UserDir(u.Owner), "uploads", u.ID+".part")
}
