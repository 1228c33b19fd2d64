package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Read returns the records of some types from the spool at path, in their order. A spool that is not there has none. It
// ends at the first line that is no record: a process that was killed may have left half of one.
func Read(path string, types ...runspec.Type) ([]runspec.Record, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record spool: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, runspec.MaxRecordBytes+1)
	var records []runspec.Record
	for lines.Scan() {
		if !mentions(lines.Bytes(), types) { // most are progress, and decoding is what takes time
			continue
		}
		var r runspec.Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return records, nil
		}
		for _, t := range types {
			if r.Type == t {
				records = append(records, r)
			}
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("read the record spool: %w", err)
	}
	return records, nil
}

func mentions(line []byte, types []runspec.Type) bool {
	for _, t := range types {
		if bytes.Contains(line, []byte(`"`+t+`"`)) {
			return true
		}
	}
	return false
}
