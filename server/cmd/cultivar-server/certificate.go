package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// certificate is a TLS certificate in two files that something renews: it is read again when the files have changed, so
// that a renewal needs no restart.
type certificate struct {
	cert, key string // paths, PEM

	mu     sync.Mutex
	read   [2]time.Time // when the files had changed last
	loaded *tls.Certificate
}

// openCertificate reads the files, so that what is wrong with them stops the start.
func openCertificate(cert, key string) (*certificate, error) {
	c := &certificate{cert: cert, key: key}
	_, err := c.get(nil)
	return c, err
}

// get is tls.Config's GetCertificate. While the files cannot be read the certificate of before is shown: one is replaced
// before the other.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := [2]time.Time{modified(c.cert), modified(c.key)}
	if c.loaded != nil && changed == c.read {
		return c.loaded, nil
	}
	loaded, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil && c.loaded == nil {
		return nil, fmt.Errorf("read the certificate of the settings tls.certificate and tls.key: %w", err)
	}
	if err == nil {
		c.loaded, c.read = &loaded, changed
	}
	return c.loaded, nil
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
