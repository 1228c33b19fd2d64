package local

import (
	"fmt"
	"os"
	"sync"

	"github.com/cultivar-ml/cultivar/server/internal/files"
)

// logBytes bounds each of the two files that a trainer's output is kept in: the newest, and the one before.
const logBytes = 2 << 20

// boundedLog is a trainer's output on disk, at most twice logBytes of it, the newest kept.
type boundedLog struct {
	path string

	mu   sync.Mutex
	file *os.File
	size int64
}

func openLog(path string) (*boundedLog, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, files.FileMode)
	if err != nil {
		return nil, fmt.Errorf("open the trainer's log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open the trainer's log: %w", err)
	}
	return &boundedLog{path: path, file: f, size: info.Size()}, nil
}

// Write never fails: a full disk must not end a training.
func (l *boundedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+int64(len(b)) > logBytes {
		l.turn()
	}
	n, _ := l.file.Write(b)
	l.size += int64(n)
	return len(b), nil
}

func (l *boundedLog) turn() {
	if os.Rename(l.path, l.path+".1") != nil {
		return
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, files.FileMode)
	if err != nil {
		return
	}
	_ = l.file.Close()
	l.file, l.size = f, 0
}

// Close closes the newest file.
func (l *boundedLog) Close() error { return l.file.Close() }
