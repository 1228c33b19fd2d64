package client

import (
	"context"
	"io"
	"time"
)

// Hurry shortens every wait of a client under test.
func (c *Client) Hurry(silence, patience time.Duration) *Client {
	c.timing = timing{call: 5 * time.Second, idle: silence, silence: silence, patience: patience, waitFirst: time.Millisecond, waitMost: 4 * time.Millisecond}
	return c
}

// Tus sends bytes as one upload.
func (c *Client) Tus(ctx context.Context, meta map[string]string, size int64, open func(int64) (io.ReadCloser, error), moved func(int64), trouble func(error)) error {
	return c.tus(ctx, meta, content{size: size, open: open}, moved, trouble)
}

// ErrGone is what Tus fails with when the server forgot the upload.
var ErrGone = errGone
