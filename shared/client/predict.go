package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// maxPredict is what one predict request may hold, index included.
const maxPredict = 60 << 20

// Predict classifies image files with a finished run's model. The sequence has one Prediction for each file, whose Index
// is the file's place in files; the order is the model's. A file that cannot be read or is too large has Error set.
// The sequence yields an error as its last element when the server or the task fails.
func (c *Client) Predict(ctx context.Context, run string, files []string) iter.Seq2[runspec.Prediction, error] {
	return func(yield func(runspec.Prediction, error) bool) {
		for start := 0; start < len(files); {
			batch := newBatch(files, start)
			start = batch.end
			for _, bad := range batch.bad {
				if !yield(bad, nil) {
					return
				}
			}
			if len(batch.images) == 0 {
				continue
			}
			if more, err := c.predict(ctx, run, batch, yield); err != nil {
				yield(runspec.Prediction{}, err)
				return
			} else if !more {
				return
			}
		}
	}
}

// batch is the files of one request. Files with the same bytes are sent once.
type batch struct {
	images []manifest.Image // Path is the file's path as given
	places map[string][]int // hash to places in files
	bad    []runspec.Prediction
	end    int // the first place not in the batch
}

func newBatch(files []string, start int) batch {
	b := batch{places: map[string][]int{}, end: start}
	var size int64
	for ; b.end < len(files); b.end++ {
		im, err := fingerprint(files[b.end])
		if err != nil {
			b.bad = append(b.bad, runspec.Prediction{Index: b.end, Error: err.Error()})
			continue
		}
		if len(b.images) > 0 && size+im.Size > maxPredict {
			break
		}
		if len(b.places[im.SHA256]) == 0 {
			b.images = append(b.images, im)
			size += im.Size
		}
		b.places[im.SHA256] = append(b.places[im.SHA256], b.end)
	}
	return b
}

// fingerprint hashes a file that is to be classified.
func fingerprint(path string) (manifest.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return manifest.Image{}, err
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(f, manifest.MaxFileBytes+1))
	if err != nil {
		return manifest.Image{}, err
	}
	switch {
	case n == 0:
		return manifest.Image{}, errors.New("the file is empty")
	case n > manifest.MaxFileBytes:
		return manifest.Image{}, fmt.Errorf("the file is larger than %d MiB: make it smaller first", manifest.MaxFileBytes>>20)
	}
	return manifest.Image{Path: path, SHA256: hex.EncodeToString(sum.Sum(nil)), Size: n}, nil
}

// predict sends one batch and yields its answers; false when the consumer left.
func (c *Client) predict(ctx context.Context, run string, b batch, yield func(runspec.Prediction, error) bool) (bool, error) {
	task, err := c.startPredict(ctx, run, b)
	if err != nil {
		return false, err
	}
	for e, err := range c.Events(ctx, task.Id, 0, nil) {
		if err != nil {
			return false, err
		}
		switch body := e.Record.Body.(type) {
		case runspec.Prediction:
			for _, place := range b.places[body.SHA256] {
				p := body
				p.Index = place
				if !yield(p, nil) {
					return false, nil
				}
			}
			delete(b.places, body.SHA256) // a later attempt answers again
		case runspec.State:
			if s := api.State(body.State); Terminal(s) && s != api.StateSucceeded {
				return false, api.Errorf(api.CodeInternal, "The classification %s: %s", s, body.Reason)
			}
		}
	}
	return ctx.Err() == nil, ctx.Err()
}

func (c *Client) startPredict(ctx context.Context, run string, b batch) (api.Task, error) {
	packs, err := plan(b.images, func(im manifest.Image) string { return im.Path })
	if err != nil {
		return api.Task{}, err
	}
	if len(packs) != 1 {
		return api.Task{}, fmt.Errorf("classify %d images: they make %d packs instead of one", len(b.images), len(packs))
	}
	body, err := packs[0].open(0)
	if err != nil {
		return api.Task{}, err
	}
	defer func() { _ = body.Close() }()
	ctx, dog, cancel := guard(ctx, c.timing.idle)
	defer cancel()
	source := &remembering{Reader: watched{body, dog}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url("runs", run, "predict"), source)
	if err != nil {
		return api.Task{}, err
	}
	req.ContentLength = packs[0].size
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := c.send(req)
	if err != nil {
		if own := source.err.Load(); own != nil { // not the server's fault: a file changed or vanished meanwhile
			return api.Task{}, *own
		}
		return api.Task{}, err
	}
	return answer[api.Task](ctx, c, resp, nil)
}

// remembering is a reader that keeps the error it ended with; the transport may still be reading when it is asked for.
type remembering struct {
	io.Reader
	err atomic.Pointer[error]
}

func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err.Store(&err)
	}
	return n, err
}
