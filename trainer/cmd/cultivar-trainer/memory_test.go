package main

import (
	"path/filepath"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

// A balanced training with all of its exports keeps within what the documentation promises, which does not depend on how many
// photos there are: what TensorFlow, the graphs of the exports and the states of the training take does.
func TestBalancedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute and a half")
	}
	const base, perClass, promised = "efficientnet_lite0", 40, 1536 << 20
	installed := tasktest.Bases(t, base)
	spec := tasktest.Train(t, t.TempDir(), tasktest.Data(t, "trashnet"), perClass)
	spec.Recipe = runspec.Default(runspec.Balanced)
	spec.Paths.Bases, spec.Recipe.Base, spec.Recipe.Views, spec.Recipe.FinetuneEpochs = installed, base, 1, 2
	spec.Recipe.Exports = []string{"h5", "savedmodel", "tflite_int8"}
	spec.Paths.Attempt = filepath.Join(t.TempDir(), "1")
	start(t, spec, "train", 0, "GOMAXPROCS=2").end(t, runspec.ExitOK) // a session each
	taken := peak(t, spec, "train")
	t.Logf("it took %d MiB of memory", taken>>20)
	if taken > promised {
		t.Errorf("it took more than %d MiB", promised>>20)
	}
}
