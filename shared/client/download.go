package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// OpenArtifact opens a file of a run for reading as it comes; nothing is verified or resumed.
func (c *Client) OpenArtifact(ctx context.Context, run, name string) (io.ReadCloser, error) {
	ctx, dog, cancel := guard(ctx, c.timing.idle)
	resp, err := c.artifact(ctx, run, name, "", 0)
	if err != nil {
		cancel()
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer cancel()
		defer drain(resp.Body)
		return nil, c.refusal(resp)
	}
	return struct {
		io.Reader
		io.Closer
	}{watched{resp.Body, dog}, closing{resp.Body, cancel}}, nil
}

func (c *Client) artifact(ctx context.Context, run, name, etag string, from int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url("runs", run, "artifacts", name), http.NoBody)
	if err != nil {
		return nil, err
	}
	if from > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(from, 10)+"-")
		req.Header.Set("If-Range", etag)
	}
	return c.send(req)
}

// Download fetches a file of a run to dest, replacing what is there. What arrives is kept in dest+".part" and resumed,
// now or in a later call; dest appears only when it is whole, its SHA-256 is right and it is durable. progress may be nil.
func (c *Client) Download(ctx context.Context, run string, a runspec.Artifact, dest string, progress func(done, total int64)) error {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	d := &download{c: c, run: run, artifact: a, progress: progress, sum: sha256.New()}
	file, err := os.OpenFile(dest+".part", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("download %s: %w", a.Name, err)
	}
	d.file = file
	if err := errors.Join(d.fetch(ctx), file.Close()); err != nil {
		return fmt.Errorf("download %s: %w", a.Name, err)
	}
	if err := publish(dest+".part", dest); err != nil {
		return fmt.Errorf("download %s: %w", a.Name, err)
	}
	return nil
}

// publish gives a complete file its name, durably.
func publish(part, dest string) error {
	if err := os.Rename(part, dest); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(dest))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

type download struct {
	c        *Client
	run      string
	artifact runspec.Artifact
	file     *os.File
	sum      hash.Hash // of the file's first done bytes
	done     int64
	progress func(done, total int64)
}

// fetch completes the part file, then verifies and syncs it.
func (d *download) fetch(ctx context.Context) error {
	if err := d.resume(); err != nil {
		return err
	}
	for try := 0; ; try++ {
		if err := d.complete(ctx); err != nil {
			return err
		}
		if got := hex.EncodeToString(d.sum.Sum(nil)); got == d.artifact.SHA256 {
			return d.file.Sync()
		}
		// An old part of another file, or bytes altered on the way: once more from the start.
		if try > 0 {
			return api.Errorf(api.CodeInternal, "what arrives is not what the run made (wrong SHA-256, twice). Something between here and %s changes it; try another network", d.c.server)
		}
		if err := d.restart(); err != nil {
			return err
		}
	}
}

// resume hashes what an earlier call left.
func (d *download) resume() error {
	n, err := io.Copy(d.sum, d.file)
	if err != nil {
		return err
	}
	d.done = n
	if n > d.artifact.Bytes {
		return d.restart()
	}
	return nil
}

func (d *download) restart() error {
	d.done = 0
	d.sum.Reset()
	if err := d.file.Truncate(0); err != nil {
		return err
	}
	_, err := d.file.Seek(0, io.SeekStart)
	return err
}

// complete reads until the size is right, through any number of cuts.
func (d *download) complete(ctx context.Context) error {
	var wait backoff
	deadline := d.c.now().Add(d.c.timing.patience)
	for d.done < d.artifact.Bytes {
		before := d.done
		err := d.part(ctx)
		if err != nil && !passing(err) {
			return err
		}
		if d.done > before {
			deadline, wait = d.c.now().Add(d.c.timing.patience), backoff{}
		}
		if d.done >= d.artifact.Bytes {
			break
		}
		if d.c.now().After(deadline) {
			return fmt.Errorf("gave up after %s without progress: %w", d.c.timing.patience, err)
		}
		if err := pause(ctx, wait.next(d.c.timing)); err != nil {
			return err
		}
	}
	d.progress(d.done, d.artifact.Bytes)
	return nil
}

// part makes one request and appends what it brings.
func (d *download) part(ctx context.Context) error {
	ctx, dog, cancel := guard(ctx, d.c.timing.idle)
	defer cancel()
	resp, err := d.c.artifact(ctx, d.run, d.artifact.Name, strconv.Quote(d.artifact.SHA256), d.done)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusOK:
		if err := d.restart(); err != nil {
			return err
		}
	case http.StatusPartialContent:
		if from := rangeStart(resp); from != d.done {
			return d.c.garbled(fmt.Errorf("asked for bytes from %d, got them from %d", d.done, from))
		}
	case http.StatusRequestedRangeNotSatisfiable:
		return d.restart()
	default:
		return d.c.refusal(resp)
	}
	return d.copy(ctx, watched{resp.Body, dog})
}

func rangeStart(resp *http.Response) int64 {
	var from, to int64
	if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/", &from, &to); err != nil {
		return -1
	}
	return from
}

func (d *download) copy(ctx context.Context, body io.Reader) error {
	buf := make([]byte, 256<<10)
	for {
		n, err := body.Read(buf)
		if int64(n) > d.artifact.Bytes-d.done {
			return d.c.garbled(fmt.Errorf("more than %d bytes", d.artifact.Bytes))
		}
		if n > 0 {
			if _, werr := d.file.Write(buf[:n]); werr != nil {
				return werr
			}
			d.sum.Write(buf[:n])
			d.done += int64(n)
			d.progress(d.done, d.artifact.Bytes)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return d.c.linkError(ctx, err)
		}
	}
}
