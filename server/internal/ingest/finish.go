package ingest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"

	"github.com/cultivar-ml/cultivar/server/internal/failpoint"
	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/pack"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Kinds of upload.
const (
	kindPack     = "pack"
	kindManifest = "manifest"
)

// lookupBatch bounds how many images are looked up at once.
const lookupBatch = 5000

// finish takes a completely received upload in. It may be called again after a crash anywhere in it. An *api.Error means
// that the content is at fault and the upload is of no more use.
func (s *Service) finish(ctx context.Context, u store.Upload) error {
	name, err := s.volume.Path(partName(u))
	if err != nil {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("finish upload: %w", err)
	}
	defer func() { _ = f.Close() }()
	if u.Kind == kindPack {
		err = s.takePack(ctx, u.Owner, f, name)
	} else {
		err = s.takeManifest(ctx, u, f)
	}
	if err != nil {
		return err
	}
	if err := s.store.FinishUpload(ctx, u.Owner, u.ID); err != nil {
		return err
	}
	failpoint.Hit("ingest.taken")
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("finish upload: %w", err)
	}
	return nil
}

func (s *Service) takePack(ctx context.Context, user string, f *os.File, name string) error {
	index, err := pack.Verify(bufio.NewReaderSize(f, 1<<20))
	if errors.Is(err, pack.ErrInvalid) {
		return api.Errorf(api.CodeInvalid, "The pack of images is damaged or not a pack: %v. Send it again.", err)
	}
	if err != nil {
		return fmt.Errorf("verify pack: %w", err)
	}
	blobs := make([]store.Blob, len(index.Entries))
	for i, e := range index.Entries {
		blobs[i] = store.Blob{SHA256: e.SHA256, Start: e.Offset, Length: e.Length}
	}
	s.packs.Lock()
	defer s.packs.Unlock()
	if err := s.volume.Adopt(name, PackName(user, index.Name)); err != nil {
		return err
	}
	failpoint.Hit("ingest.adopted")
	err = s.store.AddPack(ctx, user, index.Name, index.Size, blobs)
	failpoint.Hit("ingest.packed")
	return err
}

func (s *Service) takeManifest(ctx context.Context, u store.Upload, f io.Reader) error {
	d, err := s.store.Dataset(ctx, u.Owner, u.Dataset)
	if errors.Is(err, store.ErrNotFound) {
		return api.Errorf(api.CodeNotFound, "The dataset of this manifest was deleted in the meantime. Create it again.")
	}
	if err != nil {
		return err
	}
	if d.State == api.DatasetReady {
		return nil // sent twice; the digest says that it is the same
	}
	m, err := manifest.Decode(f)
	if errors.Is(err, manifest.ErrFormat) {
		return api.Errorf(api.CodeInvalid, "The manifest cannot be used: %v. Scan the folder again with this version of the program.", err)
	}
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	if got := manifest.Digest(m.Images); got != d.Digest {
		return api.Errorf(api.CodeInvalid, "The manifest has digest %s, but the dataset was announced as %s. Scan the folder again; it may have changed.", got, d.Digest)
	}
	s.packs.Lock()
	defer s.packs.Unlock()
	packs, total, err := s.place(ctx, u.Owner, m.Images)
	if err != nil {
		return err
	}
	dest := path.Join(runspec.DatasetDir(u.Owner, d.Digest), runspec.ManifestFile)
	if err := s.volume.Write(dest, files.FileMode, func(w io.Writer) error { return manifest.Encode(w, m) }); err != nil {
		return err
	}
	failpoint.Hit("ingest.listed")
	err = s.store.FinishDataset(ctx, u.Owner, d.ID, counts(m), len(m.Images), total, packs)
	failpoint.Hit("ingest.ready")
	return err
}

// place fills in where the bytes of each image lie, and returns the packs in use and the sum of the images' bytes.
func (s *Service) place(ctx context.Context, user string, images []manifest.Image) (packs []string, total int64, err error) {
	missing := 0
	used := map[string]bool{}
	for start := 0; start < len(images); start += lookupBatch {
		batch := images[start:min(start+lookupBatch, len(images))]
		hashes := make([]string, len(batch))
		for i := range batch {
			hashes[i] = batch[i].SHA256
		}
		blobs, err := s.store.Blobs(ctx, user, hashes)
		if err != nil {
			return nil, 0, err
		}
		for i := range batch {
			im := &batch[i]
			b, ok := blobs[im.SHA256]
			if !ok {
				missing++
				continue
			}
			if b.Length != im.Size {
				return nil, 0, api.Errorf(api.CodeInvalid, "The manifest gives image %s a size of %d bytes, but it has %d. Scan the folder again.", im.SHA256, im.Size, b.Length)
			}
			im.Pack, im.Offset, im.Length = b.Pack, b.Start, b.Length
			used[b.Pack] = true
			total += b.Length
		}
	}
	if missing > 0 {
		return nil, 0, api.Errorf(api.CodeConflict, "%d of the %d images in the manifest have not arrived. Ask which are missing, send them, and then the manifest again.", missing, len(images))
	}
	for p := range used {
		packs = append(packs, p)
	}
	slices.Sort(packs)
	return packs, total, nil
}

// counts counts the images of each class, in label order.
func counts(m *manifest.Manifest) []api.ClassCount {
	n := map[string]int{}
	for i := range m.Images {
		n[m.Images[i].Class]++
	}
	out := make([]api.ClassCount, len(m.Classes))
	for i, c := range m.Classes {
		out[i] = api.ClassCount{Name: c, Images: n[c]}
	}
	return out
}
