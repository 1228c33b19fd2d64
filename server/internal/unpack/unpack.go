// Package unpack turns a zip file of strangers into what the program sends: packs and a manifest. It is the work of a process
// of its own, which may run wild: what it makes is checked as if it came from outside.
package unpack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cultivar-ml/cultivar/shared/archive"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/pack"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/shared/safe"
)

// PackFile is the name pattern of the packs in the folder that Run fills; its manifest is runspec.ManifestFile.
const PackFile = "*.pack"

// mostBytes of photos are taken out of one archive: as many as a dataset may have.
const mostBytes = 40 << 30

// Report is what Run tells, as JSON.
type Report struct {
	// Refused says for people why there is no dataset; empty: there is one.
	Refused  string                  `json:"refused,omitempty"`
	Name     string                  `json:"name"`
	Digest   string                  `json:"digest"`
	Images   int                     `json:"images"`
	Bytes    int64                   `json:"bytes"`
	Problems []manifest.Problem      `json:"problems"`
	Skipped  map[manifest.Reason]int `json:"skipped"`
}

// Run reads the zip file f, whose dataset is called name, fills the folder dir and writes its report. An error means that it
// could not be done, not that the file is at fault.
func Run(ctx context.Context, f *os.File, name, dir string, report io.Writer) error {
	r, err := unpack(ctx, f, name, dir)
	var refused *archive.Error
	if errors.As(err, &refused) {
		r, err = Report{Refused: refused.Text}, nil
	}
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	return json.NewEncoder(report).Encode(r)
}

func unpack(ctx context.Context, f *os.File, name, dir string) (Report, error) {
	info, err := f.Stat()
	if err != nil {
		return Report{}, err
	}
	a, err := archive.Open(f, info.Size())
	if err != nil {
		return Report{}, err
	}
	m, err := manifest.ScanTree(ctx, a, name, manifest.ScanOptions{})
	if err != nil {
		return Report{}, err
	}
	r := Report{Name: m.Name, Digest: manifest.Digest(m.Images), Images: len(m.Images), Problems: append(a.Problems(), m.Problems...), Skipped: m.Skipped}
	for _, im := range m.Images {
		r.Bytes += im.Size
	}
	r.Refused = m.Trainable()
	if r.Bytes > mostBytes {
		r.Refused = fmt.Sprintf("The photos have %d GB; at most %d GB are possible in a dataset. Make them smaller: models look at a few hundred pixels.", r.Bytes>>30, int64(mostBytes)>>30)
	}
	if r.Refused != "" {
		return r, nil
	}
	if err := writePacks(ctx, a, m.Images, dir); err != nil {
		return Report{}, err
	}
	return r, write(filepath.Join(dir, runspec.ManifestFile), func(w io.Writer) error { return manifest.Encode(w, m) })
}

func writePacks(ctx context.Context, a *archive.Archive, images []manifest.Image, dir string) error {
	sizes := make([]int64, len(images))
	for i, im := range images {
		sizes[i] = im.Size
	}
	for _, span := range pack.Plan(sizes) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var sources []pack.Source
		for _, im := range images[span.First:span.End] {
			sources = append(sources, pack.Source{Path: safe.Text(im.Path).String(), SHA256: im.SHA256, Size: im.Size,
				Open: func() (io.ReadCloser, error) { return a.Reader(im.Local()) }})
		}
		p, err := pack.New(sources)
		if err != nil {
			return err
		}
		err = write(filepath.Join(dir, p.Name()+filepath.Ext(PackFile)), func(w io.Writer) error {
			r, err := p.Open(0)
			if err != nil {
				return err
			}
			defer r.Close()
			_, err = io.Copy(w, r)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// write makes a file that whoever takes it makes durable.
func write(name string, content func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(content(f), f.Close())
}
