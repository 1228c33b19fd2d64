package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/journal"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

// fills runs a trainer on a disk of that size (mount's words) and prints its exit code; then with room, as another executor
// that goes on from the first, and takes its model home.
const fills = `set -eu
mkdir -p "$DISK"
mount -t tmpfs -o size="$SIZE" none "$DISK"
mkdir -p "$DISK/features" "$DISK/attempt"
code=0; "$TRAINER" train --spec "$FIRST" || code=$?
echo "exit code $code"
cp "$DISK/attempt/first/result.json" "$HOME_DIR/first.json" 2>/dev/null || true
mount -o remount,size=1g "$DISK"
export CULTIVAR_EXECUTOR=second
"$TRAINER" train --spec "$SECOND"
cp "$DISK/attempt/second/artifacts/model.h5" "$HOME_DIR/model.h5"
`

// TestFullDisk: wherever a disk becomes full, a training ends with a sentence, leaves no half a file that is taken for a whole
// one, and, when there is room again, another attempt ends with the weights of one that never lacked any.
func TestFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	if out, err := exec.Command("unshare", "-rm", "mount", "-t", "tmpfs", "none", t.TempDir()).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, NOT CHECKED: no disk can be mounted here: %v %s", err, out)
	}
	base := "efficientnet_lite0"
	spec := tasktest.Train(t, t.TempDir(), tasktest.Data(t, "trashnet"), 8)
	spec.Paths.Bases = tasktest.Bases(t, base)
	r := &spec.Recipe
	r.Base, r.ImageSize, r.Views, r.Epochs, r.Patience, r.Exports = base, 96, 2, 4, 50, []string{"h5"}
	want := map[int]map[string][]float32{} // by epochs of fine-tuning
	for _, epochs := range []int{0, 2} {
		whole := spec
		whole.Task, whole.Paths.Attempt, whole.Recipe.FinetuneEpochs = "whole", t.TempDir(), epochs
		p := start(t, whole, "whole", 0)
		p.end(t, 0)
		want[epochs] = weights(t, p)
	}
	for name, c := range map[string]struct {
		size   string
		epochs int
		stops  string // at what
	}{
		"the records":  {"8k", 0, "write"},
		"the features": {"300k", 0, ".seg"},
		"a checkpoint": {"16m", 2, ".ckpt"},
		"the model":    {"8m", 0, "model.h5"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := spec
			spec.Recipe.FinetuneEpochs = c.epochs
			home, disk := t.TempDir(), filepath.Join(t.TempDir(), "disk")
			first := spec
			first.Paths.Features, first.Paths.Attempt = filepath.Join(disk, "features"), filepath.Join(disk, "attempt")
			second := first
			second.Attempt, second.Paths.Previous = 2, filepath.Join(disk, "attempt", "first")
			cmd := exec.CommandContext(t.Context(), "unshare", "-rm", "sh", "-c", fills)
			cmd.Env = append(os.Environ(), asTrainer+"=1", journal.ExecutorEnv+"=first", "DISK="+disk, "SIZE="+c.size, "TRAINER="+os.Args[0], "HOME_DIR="+home,
				"FIRST="+tasktest.WriteSpec(t, t.TempDir(), first), "SECOND="+tasktest.WriteSpec(t, t.TempDir(), second))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !bytes.Contains(out, []byte(fmt.Sprint("exit code ", runspec.ExitNoSpace))) || !bytes.Contains(out, []byte("no space left on the disk")) || !bytes.Contains(out, []byte(c.stops)) {
				t.Errorf("it says\n%s", out)
			}
			told, err := os.ReadFile(filepath.Join(home, "first.json"))
			if err == nil && !strings.Contains(string(told), "free some, then retry") || err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the result: %s, %v", told, err)
			}
			p := trainer{dir: home, output: &bytes.Buffer{}}
			if err := os.MkdirAll(filepath.Join(home, runspec.ArtifactsDir), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(home, "model.h5"), filepath.Join(home, runspec.ArtifactsDir, "model.h5")); err != nil {
				t.Fatal(err)
			}
			for name, got := range weights(t, p) {
				if !slices.Equal(got, want[c.epochs][name]) {
					t.Fatalf("%s differs from that of a training with room", name)
				}
			}
		})
	}
}
