package manifest

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	cacheHead = "cultivar-hashes 1\n"
	maxCache  = 512 << 20 // bytes: MaxFiles of the longest paths
	// freshness is how old a file must be at the start of a scan for its hash to be remembered: a younger one could change
	// again within the same tick of the file system's clock, and nobody would notice.
	freshness = 2 * time.Second
)

// cache remembers hashes between scans.
type cache struct {
	path    string // empty: nothing is kept
	started time.Time
	known   map[string]cached // by path on the disk
}

type cached struct {
	size, mtime   int64
	inode         uint64
	sha256, dhash string
}

// openCache reads the cache. One that is missing, of another version or broken is empty.
func openCache(path string) *cache {
	c := &cache{path: path, started: time.Now(), known: map[string]cached{}}
	if path == "" {
		return c
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Size() > maxCache {
		return c
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return c
	}
	if known, ok := parseCache(data); ok {
		c.known = known
	}
	return c
}

// parseCache reads lines of size, time, inode, SHA-256, difference hash and quoted path, between a head and a checksum.
func parseCache(data []byte) (map[string]cached, bool) {
	end := bytes.LastIndexByte(bytes.TrimSuffix(data, []byte("\n")), '\n') + 1
	body, last := data[:end], string(data[end:])
	if !bytes.HasPrefix(body, []byte(cacheHead)) || last != cacheEnd(body) {
		return nil, false
	}
	known := map[string]cached{}
	for line := range strings.Lines(string(body[len(cacheHead):])) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6)
		if len(f) != 6 {
			return nil, false
		}
		size, err1 := strconv.ParseInt(f[0], 10, 64)
		mtime, err2 := strconv.ParseInt(f[1], 10, 64)
		node, err3 := strconv.ParseUint(f[2], 10, 64)
		dhash := strings.TrimPrefix(f[4], "=")
		name, err4 := strconv.Unquote(f[5])
		if err1 != nil || err2 != nil || err3 != nil || err4 != nil || !isHex(f[3], 64) || !isDHash(dhash) {
			return nil, false
		}
		known[name] = cached{size, mtime, node, f[3], dhash}
	}
	return known, true
}

func cacheEnd(body []byte) string {
	return fmt.Sprintf("end %08x\n", crc32.ChecksumIEEE(body))
}

// lookup sets the image's hashes if they are known, the difference hash being needed only if near is set. It may be called
// from several goroutines.
func (c *cache) lookup(im *scanned, near bool) bool {
	k, ok := c.known[im.source]
	if !ok || k.size != im.Size || k.mtime != im.mtime || k.inode != im.inode {
		return false
	}
	if near && k.dhash == "" && im.Width*im.Height <= decodePixels {
		return false
	}
	im.SHA256, im.decoded = k.sha256, k.dhash
	return true
}

// save replaces the cache by what is now known of the images.
func (c *cache) save(images []*scanned) error {
	if c.path == "" {
		return nil
	}
	var b bytes.Buffer
	b.WriteString(cacheHead)
	limit := c.started.Add(-freshness).UnixNano()
	for _, im := range images {
		if im.SHA256 == "" || im.mtime > limit {
			continue
		}
		fmt.Fprintf(&b, "%d %d %d %s =%s %s\n", im.Size, im.mtime, im.inode, im.SHA256, im.decoded, strconv.Quote(im.source))
	}
	b.WriteString(cacheEnd(b.Bytes()))
	return replaceFile(c.path, b.Bytes())
}

// replaceFile writes a file so that a crash leaves the old one or the new one.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".hashes-*")
	if err != nil {
		return fmt.Errorf("write the hash cache: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write the hash cache: %w", err)
	}
	return nil
}
