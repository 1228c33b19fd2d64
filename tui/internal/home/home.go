// Package home decides where files of this program go on a person's machine: model files that are taken home, and the
// cache of hashes that makes a second look at a folder quick. It writes none of them.
package home

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/adrg/xdg"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

const maxName = 80 // bytes of a run's name in a file's name

// Places names a file in dir for each of a run's artifacts, after the run: flowers.h5, flowers-labels.txt. What is there
// stays, unless it is the very same file or force is set: then all get the same number behind the name (flowers-2.h5).
func Places(dir string, run api.Run, chosen []runspec.Artifact, force bool) []string {
	stem := stem(run)
	for n := 1; ; n++ {
		name := stem
		if n > 1 {
			name += fmt.Sprintf("-%d", n)
		}
		paths := make([]string, len(chosen))
		free := true
		for i, a := range chosen {
			paths[i] = filepath.Join(dir, fileName(name, a))
			if _, err := os.Lstat(paths[i]); err == nil && !force && !Same(paths[i], a) {
				free = false
			}
		}
		if free {
			return paths
		}
	}
}

// Same tells whether a file is this very artifact.
func Same(path string, a runspec.Artifact) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() != a.Bytes {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return false
	}
	return hex.EncodeToString(sum.Sum(nil)) == a.SHA256
}

func fileName(stem string, a runspec.Artifact) string {
	name := clean(a.Name)
	if rest, ok := strings.CutPrefix(name, "model."); ok {
		return stem + "." + rest
	}
	return stem + "-" + name
}

// stem is a run's name as the beginning of a file name.
func stem(run api.Run) string {
	for _, name := range []string{run.Name, run.DatasetName} {
		if s := clean(name); s != "" {
			return s
		}
	}
	return fmt.Sprintf("run-%d", run.Number)
}

// clean keeps letters, digits, dots, dashes and underscores, which every file system and shell takes.
func clean(name string) string {
	var b strings.Builder
	for _, r := range name {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), unicode.Is(unicode.M, r), r == '.', r == '_':
			b.WriteRune(r)
		default:
			if s := b.String(); s != "" && !strings.HasSuffix(s, "-") {
				b.WriteByte('-')
			}
		}
		if b.Len() >= maxName {
			break
		}
	}
	return strings.Trim(b.String(), ".-_")
}

// ScanCache is the path of the hashes kept of a folder, one file a folder so that two scans at once do not lose each
// other's; empty when the system has no place for it, and then nothing is kept.
func ScanCache(folder string) string {
	abs, err := filepath.Abs(folder)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256([]byte(abs))
	path, err := xdg.CacheFile(filepath.Join("cultivar", "scans", hex.EncodeToString(sum[:8])+".cache"))
	if err != nil {
		return ""
	}
	return path
}
