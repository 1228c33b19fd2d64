package doctor

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// maxHeader bounds what a weights file says of its content, bytes; real ones have some 50 kB.
const maxHeader = 16 << 20

// base is what of an entry of bases.json is needed to find its file.
type base struct {
	Name   string `json:"name"`
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
}

// bases looks at the base models: listed, there, whole.
func (e *examination) bases(ctx context.Context) []Check {
	const name = "base models"
	dir := e.Config.Bases
	list := filepath.Join(dir, runspec.BasesFile)
	content, err := os.ReadFile(list)
	if errors.Is(err, fs.ErrNotExist) {
		return []Check{failed(name, e.installBases(), "none is installed in %s, so no training can begin", dir)}
	}
	if err != nil {
		return []Check{failed(name, mend(err, dir, e.serverAccount()), "%v", err)}
	}
	var all []base
	if err := json.Unmarshal(content, &all); err != nil {
		return []Check{failed(name, "Remove that file and install the base models again. "+e.installBases(), "%s is damaged: %v", list, err)}
	}
	if len(all) == 0 {
		return []Check{failed(name, e.installBases(), "%s lists none, so no training can begin", list)}
	}
	var names []string
	var bytes int64
	for _, b := range all {
		n, err := b.whole(ctx, dir, e.Deep)
		if errors.Is(err, context.DeadlineExceeded) {
			return []Check{warning(name, "Run the doctor again without --deep, or when the disk is less busy.", "%s could not be looked through in time", dir)}
		}
		if err != nil {
			return []Check{failed(name, e.installBases(), "%s cannot be used: %v", b.Name, err)}
		}
		bytes += n
		names = append(names, b.Name)
	}
	how := "sizes are right; --deep compares hashes too"
	if e.Deep {
		how = "hashes are right"
	}
	return []Check{ok(name, "%s in %s, %s: %s", strings.Join(names, ", "), dir, size(uint64(bytes)), how)} //nolint:gosec // sizes of files
}

// installBases is how base models come to where they belong.
func (e *examination) installBases() string {
	if e.Config.Runner == config.RunnerKubernetes {
		return "Run the Job cultivar-bases of your overlay again: kubectl delete job cultivar-bases, then kubectl apply -k OVERLAY."
	}
	return fmt.Sprintf("Install them with: cultivar-trainer bases install --to %s --from FILE, or bases copy --from FOLDER --to %s; or name their folder in the setting bases.", e.Config.Bases, e.Config.Bases)
}

// whole tells a base's size in bytes; its error, why trainers cannot use it.
func (b base) whole(ctx context.Context, dir string, deep bool) (int64, error) {
	if hash, err := hex.DecodeString(b.SHA256); err != nil || len(hash) != sha256.Size || b.File != b.SHA256+".safetensors" {
		return 0, fmt.Errorf("its file is listed as %q, which is not its SHA-256", b.File)
	}
	f, err := os.Open(filepath.Join(dir, b.File))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	want, err := promised(f)
	if err != nil {
		return 0, fmt.Errorf("%s is damaged: %w", b.File, err)
	}
	if info.Size() != want {
		return 0, fmt.Errorf("%s has %d bytes instead of %d", b.File, info.Size(), want)
	}
	if !deep {
		return want, nil
	}
	h := sha256.New()
	if _, err = f.Seek(0, io.SeekStart); err == nil {
		_, err = io.Copy(h, reader{ctx, f})
	}
	if got := hex.EncodeToString(h.Sum(nil)); err == nil && got != b.SHA256 {
		err = fmt.Errorf("%s is damaged: its SHA-256 is %s", b.File, got)
	}
	return want, err
}

// promised is how long a safetensors file is by its own words: the length of a JSON header, the header, and as many bytes
// as its last array ends at (https://huggingface.co/docs/safetensors).
func promised(r io.Reader) (int64, error) {
	var n uint64
	if err := binary.Read(r, binary.LittleEndian, &n); err != nil || n > maxHeader {
		return 0, cmp.Or(err, fmt.Errorf("its header would have %d bytes", n))
	}
	header := make([]byte, n)
	if _, err := io.ReadFull(r, header); err != nil {
		return 0, err
	}
	var arrays map[string]struct {
		Offsets [2]int64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(header, &arrays); err != nil {
		return 0, err
	}
	end := int64(0)
	for _, a := range arrays {
		end = max(end, a.Offsets[1])
	}
	return 8 + int64(n) + end, nil //nolint:gosec // n is bounded above
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (r reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}
