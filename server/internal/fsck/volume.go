package fsck

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"

	"github.com/cultivar-ml/cultivar/server/internal/ingest"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/pack"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// lookup is how many images are looked up at once.
const lookup = 5000

// artifactDir is the folder of an artifact on the volume.
func artifactDir(t store.Task, a store.Artifact) string {
	return path.Join(runspec.TaskDir(t.Owner, t.ID), "attempts", strconv.Itoa(a.Attempt), a.Executor, runspec.ArtifactsDir)
}

// sized opens a file of the volume that must have so many bytes; nil: it has not, which is told.
func (l looker) sized(invariant, name string, bytes int64) (*os.File, error) {
	file, err := l.Volume.Path(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		l.found(invariant, name, "the file is missing")
		return nil, nil //nolint:nilnil // told
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() == bytes {
		return f, nil
	}
	if err == nil {
		l.found(invariant, name, "the file has %d bytes, not %d", info.Size(), bytes)
	}
	return nil, errors.Join(err, f.Close())
}

// packs: what was acknowledged of images is there.
func (l looker) packs(ctx context.Context) error {
	for _, p := range l.stock.Packs {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		l.report.Packs++
		name := ingest.PackName(p.Owner, p.Hash)
		f, err := l.sized("I1", name, p.Bytes)
		if err != nil {
			return err
		}
		if f == nil {
			continue
		}
		if l.Read {
			index, err := pack.Verify(bufio.NewReaderSize(f, 1<<20))
			if err == nil && index.Name != p.Hash {
				err = errors.New("it is another pack")
			}
			if err != nil {
				l.found("I1", name, "%v", err)
			}
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// datasets: each image of a ready one lies where its manifest says.
func (l looker) datasets(ctx context.Context) error {
	for _, d := range l.stock.Datasets {
		if d.State != api.DatasetReady {
			continue
		}
		l.report.Datasets++
		name := path.Join(runspec.DatasetDir(d.Owner, d.Digest), runspec.ManifestFile)
		m, err := l.manifest(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, manifest.ErrFormat) {
			l.found("I2", name, "%v", err)
			continue
		}
		if err != nil {
			return err
		}
		if got := manifest.Digest(m.Images); got != d.Digest {
			l.found("I2", name, "the manifest has digest %s", got)
		}
		if err := l.images(ctx, d.Owner, name, m.Images); err != nil {
			return err
		}
	}
	return nil
}

func (l looker) manifest(name string) (*manifest.Manifest, error) {
	file, err := l.Volume.Path(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return manifest.Decode(f)
}

func (l looker) images(ctx context.Context, owner, name string, images []manifest.Image) error {
	wrong := 0
	for start := 0; start < len(images); start += lookup {
		batch := images[start:min(start+lookup, len(images))]
		hashes := make([]string, len(batch))
		for i, im := range batch {
			hashes[i] = im.SHA256
		}
		blobs, err := l.Store.Blobs(ctx, owner, hashes)
		if err != nil {
			return err
		}
		for _, im := range batch {
			if b, ok := blobs[im.SHA256]; !ok || b.Pack != im.Pack || b.Start != im.Offset || b.Length != im.Length {
				wrong++
			}
		}
	}
	if wrong > 0 {
		l.found("I2", name, "%d images do not lie where the manifest says", wrong)
	}
	return nil
}

// uploads: what was acknowledged of them is there.
func (l looker) uploads(context.Context) error {
	for _, u := range l.stock.Uploads {
		if u.Finished || u.Received == 0 {
			continue
		}
		name := path.Join(runspec.UserDir(u.Owner), "uploads", u.ID+".part")
		file, err := l.Volume.Path(name)
		if err != nil {
			return err
		}
		info, err := os.Stat(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			l.found("I1", name, "the file is missing, of which %d bytes were acknowledged", u.Received)
		case err != nil:
			return err
		case info.Size() < u.Received:
			l.found("I1", name, "the file has %d bytes, of which %d were acknowledged", info.Size(), u.Received)
		}
	}
	return nil
}

// artifacts: what a run published is there.
func (l looker) artifacts(ctx context.Context) error {
	for _, t := range l.stock.Tasks {
		l.report.Tasks++
		for _, a := range l.stock.Artifacts[t.ID] {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			l.report.Files++
			name := path.Join(artifactDir(t, a), a.Name)
			f, err := l.sized("I5", name, a.Bytes)
			if err != nil {
				return err
			}
			if f == nil {
				continue
			}
			if l.Read {
				h := sha256.New()
				if _, err := io.Copy(h, f); err != nil {
					return errors.Join(err, f.Close())
				}
				if hex.EncodeToString(h.Sum(nil)) != a.SHA256 {
					l.found("I5", name, "the file was changed")
				}
			}
			if err := f.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// strays are what no row names.
func (l looker) strays(context.Context) error {
	var err error
	l.report.Strays, err = ingest.Strays(l.Volume, l.stock)
	return err
}
