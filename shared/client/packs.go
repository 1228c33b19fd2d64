package client

import (
	"fmt"
	"io"
	"os"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/pack"
	"github.com/cultivar-ml/cultivar/shared/safe"
)

// plan divides images into packs that are made while they are sent: neither memory nor disk holds one. locate says which
// file to open for an image. Each hash must come once.
func plan(images []manifest.Image, locate func(manifest.Image) string) ([]content, error) {
	sizes := make([]int64, len(images))
	for i, im := range images {
		sizes[i] = im.Size
	}
	var out []content
	for _, span := range pack.Plan(sizes) {
		sources := make([]pack.Source, 0, span.End-span.First)
		for _, im := range images[span.First:span.End] {
			file := locate(im)
			sources = append(sources, pack.Source{
				Path: safe.Text(im.Path).String(), SHA256: im.SHA256, Size: im.Size,
				Open: func() (io.ReadCloser, error) { return os.Open(file) },
			})
		}
		p, err := pack.New(sources)
		if err != nil {
			return nil, fmt.Errorf("pack the photos: %w", err)
		}
		out = append(out, content{size: p.Size(), open: p.Open})
	}
	return out, nil
}
