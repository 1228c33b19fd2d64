// Package rates keeps how fast a machine does the parts of a training, beside the activation cache: measured once in a
// short trial, and then taken from what trainings really took. It measures nothing itself.
package rates

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	graft "github.com/wamuir/graft/tensorflow"

	"github.com/cultivar-ml/cultivar/trainer/internal/durable"
)

// Dir is the folder of the books within the folder of the activation cache. No key of that is named so.
const Dir = "rates"

// format numbers the meaning of the rates' names. Whoever changes what one of them counts raises it.
const format = 1

// Key is what rates are of: a machine as far as it sets the speed, and a network at one size.
type Key struct {
	Format    int    `json:"format"`
	Machine   string `json:"machine"`
	Base      string `json:"base"` // SHA-256 of its weights
	ImageSize int    `json:"image_size"`
	Features  string `json:"features"` // the layer that the head sees
}

// NewKey is the key on this machine.
func NewKey(base string, size int, features string) Key {
	return Key{Format: format, Machine: machine(), Base: base, ImageSize: size, Features: features}
}

// machine tells kinds of machines apart by processor and the number of cores that this process may use.
func machine() string {
	model := ""
	if info, err := os.Open("/proc/cpuinfo"); err == nil {
		defer info.Close()
		lines := bufio.NewScanner(info)
		lines.Buffer(nil, 1<<16)
		for model == "" && lines.Scan() {
			if name, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
			}
		}
	}
	return fmt.Sprintf("%s %s, %s, %d cores, TensorFlow %s", runtime.GOOS, runtime.GOARCH, model, runtime.GOMAXPROCS(0), graft.Version())
}

// Rate is one of them. Its unit belongs to its name.
type Rate struct {
	Value float64 `json:"value"`
	Runs  int     `json:"runs"` // trainings it comes from; 0: a trial
}

// Book is the rates of one key. It is used by one goroutine.
type Book struct {
	path  string
	key   Key
	rates map[string]Rate
	wrote bool // something is not saved
}

// page is a book as it is stored.
type page struct {
	Key   Key             `json:"key"`
	Rates map[string]Rate `json:"rates"`
}

// Open reads the book of a key in the folder of the activation cache. One that is absent or damaged is empty: what it held
// is measured again.
func Open(cache string, key Key) (*Book, error) {
	text, err := json.Marshal(key)
	if err != nil {
		return nil, fmt.Errorf("name the rates: %w", err)
	}
	hash := sha256.Sum256(text)
	b := &Book{path: filepath.Join(cache, Dir, hex.EncodeToString(hash[:])+".json"), key: key, rates: map[string]Rate{}}
	content, err := os.ReadFile(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the rates of this machine: %w", err)
	}
	var p page
	if json.Unmarshal(content, &p) != nil || p.Key != key {
		return b, nil
	}
	for name, r := range p.Rates {
		if usable(r.Value) {
			b.rates[name] = r
		}
	}
	return b, nil
}

// usable tells whether a rate can be one. JSON has no infinity and no NaN, arithmetic has.
func usable(v float64) bool { return v >= 0 && v < 1e12 }

// Path is the file that the book is saved in: one for each key.
func (b *Book) Path() string { return b.path }

// Get returns a rate, false when it was never measured.
func (b *Book) Get(name string) (float64, bool) {
	r, ok := b.rates[name]
	return r.Value, ok
}

// Try notes what a trial measured. What a training has measured is worth more and stays.
func (b *Book) Try(name string, value float64) {
	if b.rates[name].Runs == 0 && usable(value) {
		b.rates[name], b.wrote = Rate{Value: value}, true
	}
}

// Learn notes what a training took. It counts as much as all trainings before it, so that the rates follow a machine whose
// load changes; a trial counts nothing beside it.
func (b *Book) Learn(name string, value float64) {
	r := b.rates[name]
	switch {
	case !usable(value):
		return
	case r.Runs == 0:
		r.Value = value
	default:
		r.Value = (r.Value + value) / 2
	}
	r.Runs++
	b.rates[name], b.wrote = r, true
}

// Save keeps the book durably. Of two processes that save at once one wins; each rate is of the one or of the other.
func (b *Book) Save() error {
	if !b.wrote {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(b.path), 0o755); err != nil {
		return fmt.Errorf("keep the rates of this machine: %w", err)
	}
	content, err := json.MarshalIndent(page{b.key, b.rates}, "", "  ")
	if err == nil {
		err = durable.WriteBytes(b.path, append(content, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keep the rates of this machine: %w", err)
	}
	b.wrote = false
	return nil
}
