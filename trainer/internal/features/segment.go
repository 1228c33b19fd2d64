package features

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/durable"
	"github.com/cultivar-ml/cultivar/trainer/internal/half"
)

// A segment is, little-endian: magic; dimension and row count, 4 bytes each; for each row an entry of hash (32 bytes),
// view (4) and CRC-32C of its values (4); CRC-32C of all before (4); then the rows as float16. It is written once,
// whole, and its length follows from its header, so that a torn one is told at once.
const (
	magic       = "CVFEAT1\n"
	headerBytes = len(magic) + 8
	entryBytes  = 40
	maxRows     = 1 << 20 // of one segment; ours have 1,024
)

// Row names one row of features: an image and the number of its view.
type Row struct {
	Hash data.Hash
	View int
}

// location is where a row lies.
type location struct {
	segment int // in the set's list; −1: nowhere
	offset  int64
	crc     uint32
}

type entry struct {
	row Row
	crc uint32
}

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

var errTorn = errors.New("the segment is damaged")

// readIndex returns a segment's entries and where its rows begin.
func readIndex(f *os.File, dim int) ([]entry, int64, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	head := make([]byte, headerBytes)
	if _, err := f.ReadAt(head, 0); err != nil || !bytes.HasPrefix(head, []byte(magic)) {
		return nil, 0, errTorn
	}
	count := int64(binary.LittleEndian.Uint32(head[len(magic)+4:]))
	rows := int64(headerBytes) + count*entryBytes + 4
	if int(binary.LittleEndian.Uint32(head[len(magic):])) != dim || count > maxRows || info.Size() != rows+count*int64(dim)*2 {
		return nil, 0, errTorn
	}
	index := make([]byte, rows)
	if _, err := f.ReadAt(index, 0); err != nil {
		return nil, 0, errTorn
	}
	if castagnoli(index[:rows-4]) != binary.LittleEndian.Uint32(index[rows-4:]) {
		return nil, 0, errTorn
	}
	entries := make([]entry, count)
	for i := range entries {
		b := index[headerBytes+i*entryBytes:]
		copy(entries[i].row.Hash[:], b)
		entries[i].row.View = int(binary.LittleEndian.Uint32(b[32:]))
		entries[i].crc = binary.LittleEndian.Uint32(b[36:])
	}
	return entries, rows, nil
}

// writer collects rows and publishes them as segments.
type writer struct {
	dir   string
	name  string // of the writing process, unique among those that write at the same time
	dim   int
	count int // the last segment's number
	rows  []Row
	data  []byte
	wrote int64 // bytes of all segments
}

// What is collected before it is published: some seconds of work.
const (
	segmentRows  = 1024
	segmentBytes = 16 << 20
)

// add appends one row; its values are rounded to float16.
func (w *writer) add(row Row, values []float32) error {
	w.rows = append(w.rows, row)
	for _, v := range values {
		w.data = binary.LittleEndian.AppendUint16(w.data, half.Of(v))
	}
	if len(w.rows) < segmentRows && len(w.data) < segmentBytes {
		return nil
	}
	return w.publish()
}

// next is the name of a segment that does not exist. A container that is started again within its pod keeps its name, and
// must not put its segments in the place of those it has left before.
func (w *writer) next() (string, error) {
	for {
		w.count++
		path := filepath.Join(w.dir, fmt.Sprintf("%s-%d.seg", w.name, w.count))
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return path, nil
		} else if err != nil {
			return "", err
		}
	}
}

// publish makes the collected rows durable.
func (w *writer) publish() error {
	if len(w.rows) == 0 {
		return nil
	}
	head := binary.LittleEndian.AppendUint32([]byte(magic), uint32(w.dim))
	head = binary.LittleEndian.AppendUint32(head, uint32(len(w.rows)))
	stride := 2 * w.dim
	for i, row := range w.rows {
		head = append(head, row.Hash[:]...)
		head = binary.LittleEndian.AppendUint32(head, uint32(row.View))
		head = binary.LittleEndian.AppendUint32(head, castagnoli(w.data[i*stride:(i+1)*stride]))
	}
	head = binary.LittleEndian.AppendUint32(head, castagnoli(head))
	path, err := w.next()
	if err != nil {
		return fmt.Errorf("store features: %w", err)
	}
	err = durable.Write(path, func(f io.Writer) error {
		if _, err := f.Write(head); err != nil {
			return err
		}
		_, err := f.Write(w.data)
		return err
	})
	if err != nil {
		return fmt.Errorf("store features: %w", err)
	}
	w.wrote += int64(len(head) + len(w.data))
	w.rows, w.data = w.rows[:0], w.data[:0]
	return nil
}
