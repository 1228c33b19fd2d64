package features

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cultivar-ml/cultivar/trainer/internal/data"
)

// A decoder that crashes takes the process with it. So each worker notes the image it is about to decode in a file of
// its own, which outlives the process; the next attempt reads the notes. As a killed process also leaves notes, of
// innocent images, one is only suspected at first: it is decoded last and alone. Noted again, it is left out.
const (
	notePrefix = "decoding-"
	// Strikes is how many times an image must have been noted to be left out.
	Strikes = 2
)

// note is one worker's file.
type note struct {
	file *os.File
	text string
}

func newNote(dir string, worker int) (*note, error) {
	f, err := os.Create(filepath.Join(dir, notePrefix+strconv.Itoa(worker)))
	if err != nil {
		return nil, fmt.Errorf("note what is being decoded: %w", err)
	}
	return &note{file: f}, nil
}

// set notes an image and how often it has been noted, this time included. Not synced: it need only outlive the process.
func (n *note) set(hash data.Hash, times int) error {
	n.text = fmt.Sprintf("%s %d\n", hash, times)
	if _, err := n.file.WriteAt([]byte(n.text), 0); err != nil {
		return fmt.Errorf("note what is being decoded: %w", err)
	}
	return nil
}

// done removes the note when the worker ends in good order.
func (n *note) done() {
	n.file.Close()
	os.Remove(n.file.Name())
}

// Suspects reads what an earlier attempt left in its folder: images with how often they have been noted.
func Suspects(dir string) (map[data.Hash]int, error) {
	suspects := map[data.Hash]int{}
	if dir == "" {
		return suspects, nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return suspects, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what an earlier attempt was decoding: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), notePrefix) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESTALE) { // its writer has ended in good order just now
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read what an earlier attempt was decoding: %w", err)
		}
		line, _, _ := strings.Cut(string(content), "\n")
		text, times, _ := strings.Cut(line, " ")
		hash, err := data.ParseHash(text)
		count, notNumber := strconv.Atoi(times)
		if err != nil || notNumber != nil {
			continue // it died while writing the note, not while decoding
		}
		suspects[hash] = max(suspects[hash], count)
	}
	return suspects, nil
}
