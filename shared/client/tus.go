package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
)

const (
	tusVersion = "1.0.0"
	// chunkBytes is sent and acknowledged as one: large enough for a fast link, small enough to lose on a bad one.
	chunkBytes = 8 << 20
	// statusChecksum is tus's answer to a chunk that arrived altered; it is to be sent again.
	statusChecksum = 460
	// maxAltered is how often in a row a chunk may arrive altered before the path is called broken.
	maxAltered = 5
)

// errGone: the server no longer knows the upload. It may have expired, or its last byte arrived and only the answer was
// lost; the caller asks what is missing and decides.
var errGone = errors.New("the server no longer knows this upload")

// content is what an upload sends: its size in bytes and a way to read it from any offset, again and again.
type content struct {
	size int64
	open func(offset int64) (io.ReadCloser, error)
}

// upload is one tus 1.0 upload (https://tus.io/protocols/resumable-upload) in progress.
type upload struct {
	c        *Client
	content  content
	location string
	offset   int64              // durable at the server
	moved    func(offset int64) // hears each new offset
	trouble  func(err error)    // hears why it waits; nil when it goes on
	chunk    []byte             // the bytes at offset, read once however often sent
	body     io.ReadCloser      // where chunk is read from
	bodyAt   int64              // body's position
	deadline time.Time          // give up then, unless something moves
	sleep    func(time.Duration) error
}

// tus sends content and returns when its last byte is durable. It resumes after any cut, and fails when the server
// refuses, when the content cannot be read, or after timing.patience without one more byte accepted.
func (c *Client) tus(ctx context.Context, meta map[string]string, what content, moved func(int64), trouble func(error)) error {
	u := &upload{c: c, content: what, moved: moved, trouble: trouble}
	u.sleep = func(d time.Duration) error { return pause(ctx, d) }
	defer u.close()
	u.progress()
	if err := u.retry(ctx, func() error { return u.create(ctx, meta) }); err != nil {
		return err
	}
	return u.retry(ctx, func() error { return u.rest(ctx) })
}

// retry calls step until it succeeds or fails for good; between tries it waits and asks how far the server got.
func (u *upload) retry(ctx context.Context, step func() error) error {
	var wait backoff
	err := step()
	for before := u.offset; passing(err); {
		if u.offset != before {
			before, wait = u.offset, backoff{}
		}
		if u.c.now().After(u.deadline) {
			return fmt.Errorf("gave up after %s without progress: %w", u.c.timing.patience, err)
		}
		u.trouble(err)
		if e := u.sleep(wait.next(u.c.timing)); e != nil {
			return e
		}
		if u.location != "" {
			if err = u.head(ctx); err != nil {
				continue
			}
		}
		u.trouble(nil)
		err = step()
	}
	return err
}

func (u *upload) progress() { u.deadline = u.c.now().Add(u.c.timing.patience) }

func (u *upload) close() {
	if u.body != nil {
		_ = u.body.Close()
		u.body = nil
	}
}

func (u *upload) create(ctx context.Context, meta map[string]string) error {
	ctx, cancel := u.c.bounded(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.c.url("uploads"), http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Tus-Resumable", tusVersion)
	req.Header.Set("Upload-Length", strconv.FormatInt(u.content.size, 10))
	req.Header.Set("Upload-Metadata", metadata(meta))
	resp, err := u.c.send(req)
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	if resp.StatusCode != http.StatusCreated {
		return u.c.refusal(resp)
	}
	u.location, err = u.c.sameServer(req.URL, resp.Header.Get("Location"))
	return err
}

// sameServer resolves an upload's address and refuses one elsewhere, which would be sent the user's token.
func (c *Client) sameServer(from *url.URL, location string) (string, error) {
	to, err := from.Parse(location)
	if err != nil || location == "" {
		return "", c.garbled(fmt.Errorf("upload address %q", location))
	}
	// A server behind a proxy may name itself by another scheme, host or prefix; the path below the API is what it means.
	rest, ok := strings.CutPrefix(to.Path, c.base.Path)
	if !ok {
		rest, ok = strings.CutPrefix(to.Path, apiPath)
	}
	if !ok {
		return "", c.garbled(fmt.Errorf("upload address %q is outside the API", location))
	}
	here := *c.base
	here.Path, here.RawPath, here.RawQuery = c.base.Path+rest, "", to.RawQuery
	return here.String(), nil
}

// metadata encodes Upload-Metadata: keys with base64 values, in key order.
func metadata(m map[string]string) string {
	var parts []string
	for k, v := range m {
		parts = append(parts, k+" "+base64.StdEncoding.EncodeToString([]byte(v)))
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// head asks how many bytes are durable.
func (u *upload) head(ctx context.Context) error {
	ctx, cancel := u.c.bounded(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, u.location, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Tus-Resumable", tusVersion)
	resp, err := u.c.send(req)
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	switch resp.StatusCode {
	case http.StatusOK, http.StatusNoContent:
		return u.accept(resp)
	case http.StatusNotFound, http.StatusGone:
		return errGone
	}
	return u.c.refusal(resp)
}

// accept takes the server's word on the offset.
func (u *upload) accept(resp *http.Response) error {
	at, err := strconv.ParseInt(resp.Header.Get("Upload-Offset"), 10, 64)
	if err != nil || at < 0 || at > u.content.size {
		return u.c.garbled(fmt.Errorf("Upload-Offset %q", resp.Header.Get("Upload-Offset")))
	}
	if at != u.offset {
		u.offset, u.chunk = at, nil
		u.progress()
		u.moved(at)
	}
	return nil
}

// rest sends everything from the offset on.
func (u *upload) rest(ctx context.Context) error {
	altered := 0
	for u.offset < u.content.size {
		if err := u.fill(); err != nil {
			return err
		}
		resp, err := u.patch(ctx)
		if err != nil {
			return err
		}
		err = u.patched(ctx, resp, &altered)
		drain(resp.Body)
		if err != nil {
			return err
		}
	}
	return nil
}

func (u *upload) patched(ctx context.Context, resp *http.Response, altered *int) error {
	switch resp.StatusCode {
	case http.StatusNoContent, http.StatusOK:
		*altered = 0
		before := u.offset
		if err := u.accept(resp); err != nil {
			return err
		}
		if u.offset <= before {
			return u.c.garbled(fmt.Errorf("a chunk at %d was acknowledged with offset %d", before, u.offset))
		}
		return nil
	case statusChecksum:
		if *altered++; *altered >= maxAltered {
			return api.Errorf(api.CodeInternal, "What is sent to the server at %s arrives altered, %d times in a row. Something between here and there changes it; try another network.", u.c.server, *altered)
		}
		return nil // the same chunk again
	case http.StatusConflict: // it has another offset than we thought
		before := u.offset
		if err := u.head(ctx); err != nil {
			return err
		}
		if u.offset == before {
			return u.c.refusal(resp)
		}
		return nil
	case http.StatusNotFound, http.StatusGone:
		return errGone
	case http.StatusLocked: // an earlier request of ours has not yet ended at the server
		return api.Errorf(api.CodeUnavailable, "The server at %s is still busy with the part sent before.", u.c.server)
	}
	return u.c.refusal(resp)
}

// fill makes sure that chunk holds the bytes at offset.
func (u *upload) fill() error {
	if len(u.chunk) > 0 {
		return nil
	}
	if u.body == nil || u.bodyAt != u.offset {
		u.close()
		body, err := u.content.open(u.offset)
		if err != nil {
			return err
		}
		u.body, u.bodyAt = body, u.offset
	}
	chunk := make([]byte, min(chunkBytes, u.content.size-u.offset))
	n, err := io.ReadFull(u.body, chunk)
	u.bodyAt += int64(n)
	if err != nil {
		u.close()
		return err
	}
	u.chunk = chunk
	return nil
}

func (u *upload) patch(ctx context.Context) (*http.Response, error) {
	ctx, dog, cancel := guard(ctx, u.c.timing.idle)
	body := watched{bytes.NewReader(u.chunk), dog}
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, u.location, body)
	if err != nil {
		cancel()
		return nil, err
	}
	sum := sha256.Sum256(u.chunk)
	req.ContentLength = int64(len(u.chunk))
	req.Header.Set("Tus-Resumable", tusVersion)
	req.Header.Set("Content-Type", "application/offset+octet-stream")
	req.Header.Set("Upload-Offset", strconv.FormatInt(u.offset, 10))
	req.Header.Set("Upload-Checksum", "sha256 "+base64.StdEncoding.EncodeToString(sum[:]))
	resp, err := u.c.send(req)
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = closing{resp.Body, cancel}
	return resp, nil
}

// closing releases a context when a body is closed.
type closing struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (c closing) Close() error {
	defer c.cancel()
	return c.ReadCloser.Close()
}
