package client

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/manifest"
)

// UploadOptions names a dataset and follows its upload.
type UploadOptions struct {
	// Name is what lists call the dataset; empty: the manifest's name.
	Name string
	// Progress hears how far the upload is, from the uploading goroutine and at most a few times a second; nil: nobody.
	Progress func(UploadProgress)
}

// UploadProgress is how far an upload is.
type UploadProgress struct {
	Images      int     // in the dataset
	KnownImages int     // of them, those the server had before
	Bytes       int64   // to be sent
	SentBytes   int64   // of them, those that are durable at the server
	Rate        float64 // bytes a second, over the last few seconds
	Retrying    string  // why it waits and tries again; empty when all is well
}

const (
	hashBytes   = 32     // SHA-256
	maxMissing  = 10_000 // hashes one question may hold
	maxRounds   = 5      // of asking what is missing and sending it
	kindPack    = "pack"
	kindDataset = "manifest"
)

// Upload sends what the server lacks of a dataset scanned at root and returns the dataset when it is ready. A digest the
// server has already sends nothing. It survives lost connections; it fails, naming the file, when a photo was changed
// since the scan.
func (c *Client) Upload(ctx context.Context, root string, m *manifest.Manifest, opts UploadOptions) (api.Dataset, error) {
	t := newTransfer(c, m, opts.Progress)
	name := opts.Name
	if name == "" {
		name = m.Name
	}
	set, err := plain[api.Dataset](ctx, c, func(ctx context.Context) (*http.Response, error) {
		return c.api.CreateDataset(ctx, api.DatasetCreate{Name: name, Digest: manifest.Digest(m.Images), Images: len(m.Images), Bytes: t.total})
	})
	if err != nil {
		return api.Dataset{}, err
	}
	if set.State == api.DatasetReady {
		t.state.KnownImages = len(m.Images)
		t.report(true)
		return set, nil
	}
	for range maxRounds {
		err := t.round(ctx, root, m, set.Id)
		if err == nil {
			return c.ready(ctx, set.Id)
		}
		if !errors.Is(err, errGone) && api.Code(err) != api.CodeConflict {
			return api.Dataset{}, err
		}
	}
	return api.Dataset{}, api.Errorf(api.CodeUnavailable, "The server at %s keeps losing what is sent. Its disk may be full; ask its admin, then try again: what it kept is not sent twice.", c.server)
}

// transfer is one Upload under way.
type transfer struct {
	c       *Client
	total   int64 // bytes of all images
	state   UploadProgress
	base    int64 // SentBytes before the current tus upload
	listen  func(UploadProgress)
	last    time.Time // of the last report
	window  time.Time // start of the rate's window
	windowN int64     // SentBytes then
}

func newTransfer(c *Client, m *manifest.Manifest, listen func(UploadProgress)) *transfer {
	if listen == nil {
		listen = func(UploadProgress) {}
	}
	t := &transfer{c: c, listen: listen, window: c.now()}
	t.state.Images = len(m.Images)
	for _, im := range m.Images {
		t.total += im.Size
	}
	return t
}

// round asks what is missing, sends it and then the manifest.
func (t *transfer) round(ctx context.Context, root string, m *manifest.Manifest, dataset string) error {
	lacking, err := t.missing(ctx, m.Images)
	if err != nil {
		return err
	}
	packs, err := plan(lacking, func(im manifest.Image) string { return filepath.Join(root, filepath.FromSlash(im.Local())) })
	if err != nil {
		return err
	}
	var list bytes.Buffer
	if err := manifest.Encode(&list, m); err != nil {
		return fmt.Errorf("list the photos: %w", err)
	}
	t.state.Bytes = t.state.SentBytes + int64(list.Len())
	for _, p := range packs {
		t.state.Bytes += p.size
	}
	t.report(true)
	for _, p := range packs {
		if err := t.send(ctx, map[string]string{"kind": kindPack}, p); err != nil {
			return err
		}
	}
	body := content{size: int64(list.Len()), open: func(at int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(list.Bytes()[at:])), nil
	}}
	return t.send(ctx, map[string]string{"kind": kindDataset, "dataset": dataset}, body)
}

func (t *transfer) send(ctx context.Context, meta map[string]string, body content) error {
	t.base = t.state.SentBytes
	err := t.c.tus(ctx, meta, body, t.moved, t.trouble)
	t.report(true)
	return err
}

func (t *transfer) moved(offset int64) {
	t.state.SentBytes = t.base + offset
	now := t.c.now()
	if d := now.Sub(t.window); d >= time.Second {
		rate := float64(t.state.SentBytes-t.windowN) / d.Seconds()
		if t.state.Rate > 0 {
			rate = (rate + 2*t.state.Rate) / 3 // smooth: people read this number
		}
		t.state.Rate, t.window, t.windowN = max(rate, 0), now, t.state.SentBytes
	}
	t.report(false)
}

func (t *transfer) trouble(err error) {
	t.state.Retrying = ""
	if err != nil {
		t.state.Retrying = err.Error()
	}
	t.report(true)
}

// report tells the listener, at most 10 times a second unless it is worth more.
func (t *transfer) report(now bool) {
	if at := t.c.now(); now || at.Sub(t.last) >= 100*time.Millisecond {
		t.last = at
		t.listen(t.state)
	}
}

// missing returns one image for each hash the server lacks, and counts the others as known.
func (t *transfer) missing(ctx context.Context, images []manifest.Image) ([]manifest.Image, error) {
	unique, copies := distinct(images)
	var out []manifest.Image
	lacking := 0
	for start := 0; start < len(unique); start += maxMissing {
		batch := unique[start:min(start+maxMissing, len(unique))]
		bits, err := t.ask(ctx, batch)
		if err != nil {
			return nil, err
		}
		for i, im := range batch {
			if bits[i/8]&(1<<(i%8)) != 0 {
				out = append(out, im)
				lacking += copies[im.SHA256]
			}
		}
	}
	t.state.KnownImages = max(t.state.KnownImages, len(images)-lacking)
	return out, nil
}

// distinct keeps the first image of each hash and counts how often each comes.
func distinct(images []manifest.Image) ([]manifest.Image, map[string]int) {
	copies := make(map[string]int, len(images))
	unique := make([]manifest.Image, 0, len(images))
	for _, im := range images {
		if copies[im.SHA256]++; copies[im.SHA256] == 1 {
			unique = append(unique, im)
		}
	}
	return unique, copies
}

// ask returns the bitmap for at most maxMissing images, trying again through passing trouble.
func (t *transfer) ask(ctx context.Context, batch []manifest.Image) ([]byte, error) {
	question := make([]byte, 0, len(batch)*hashBytes)
	for _, im := range batch {
		sum, err := hex.DecodeString(im.SHA256)
		if err != nil || len(sum) != hashBytes {
			return nil, fmt.Errorf("%s has no SHA-256 yet: wait until the scan is complete", im.Path)
		}
		question = append(question, sum...)
	}
	var wait backoff
	deadline := t.c.now().Add(t.c.timing.patience)
	for {
		bits, err := t.askOnce(ctx, question, (len(batch)+7)/8)
		if !passing(err) || t.c.now().After(deadline) {
			return bits, err
		}
		t.trouble(err)
		if err := pause(ctx, wait.next(t.c.timing)); err != nil {
			return nil, err
		}
		t.trouble(nil)
	}
}

func (t *transfer) askOnce(ctx context.Context, question []byte, want int) ([]byte, error) {
	ctx, cancel := t.c.bounded(ctx)
	defer cancel()
	resp, err := t.c.api.MissingBlobsWithBody(ctx, "application/octet-stream", bytes.NewReader(question))
	if err != nil {
		return nil, t.c.linkError(ctx, err)
	}
	defer drain(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return nil, t.c.refusal(resp)
	}
	bits, err := io.ReadAll(io.LimitReader(resp.Body, int64(want)+1))
	if err != nil {
		return nil, t.c.linkError(ctx, err)
	}
	if len(bits) != want {
		return nil, t.c.garbled(fmt.Errorf("%d bytes say what is missing, expected %d", len(bits), want))
	}
	return bits, nil
}

// ready waits until the server calls the dataset ready, which it does right after the manifest's last byte.
func (c *Client) ready(ctx context.Context, id string) (api.Dataset, error) {
	var wait backoff
	deadline := c.now().Add(c.timing.patience)
	for {
		set, err := c.Dataset(ctx, id)
		if err == nil && set.State == api.DatasetReady {
			return set, nil
		}
		if err != nil && !passing(err) {
			return api.Dataset{}, err
		}
		if c.now().After(deadline) {
			return api.Dataset{}, api.Errorf(api.CodeUnavailable, "Everything was sent, but the server at %s does not call the dataset ready. Try again in a while: nothing is sent twice.", c.server)
		}
		if err := pause(ctx, wait.next(c.timing)); err != nil {
			return api.Dataset{}, err
		}
	}
}
