package attempt_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/pack"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/attempt"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

// A model of hand signs is sure of most signs that it has not seen, and of few photos of something else.
func TestUnsureOfStrangers(t *testing.T) {
	spec := tasktest.Train(t, t.TempDir(), tasktest.Data(t, "sign-digits"), 60)
	spec.Paths.Bases, spec.Recipe.Base = tasktest.Bases(t, base), base
	if _, err := attempt.Run(t.Context(), spec, attempt.Options{}); err != nil {
		t.Fatal(err)
	}
	dir := folder(t, spec)
	own := report(t, dir).Threshold
	if own == nil || own.Coverage < 0.85 || own.Accuracy < 0.95 {
		t.Fatalf("the threshold is %+v", own)
	}

	m := &manifest.Manifest{Name: "strangers", Classes: []string{"strangers"}}
	var sources []pack.Source
	for _, pattern := range []string{"grocery-produce24", "trashnet"} {
		files, err := filepath.Glob(filepath.Join(tasktest.Data(t, pattern), "*", "*.jpg"))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(files); i += len(files) / 60 {
			tasktest.Add(t, m, &sources, "strangers", files[i])
		}
	}
	nothing := filepath.Join(t.TempDir(), "nothing.png") // a black picture
	var file bytes.Buffer
	if err := png.Encode(&file, image.NewGray(image.Rect(0, 0, 224, 224))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(nothing, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	tasktest.Add(t, m, &sources, "strangers", nothing)
	black := sha256.Sum256(file.Bytes())

	task := again(spec, "strangers")
	task.Kind, task.Model = runspec.Predict, filepath.Join(dir, runspec.ArtifactsDir, "model.h5")
	inputs := tasktest.Layout(t, t.TempDir(), m, sources)
	task.Inputs = filepath.Join(inputs.Paths.Packs, filepath.FromSlash(runspec.PackName(m.Images[0].Pack)))
	if _, err := attempt.Run(t.Context(), task, attempt.Options{}); err != nil {
		t.Fatal(err)
	}
	unsure, all := 0, bodies[runspec.Prediction](tasktest.Records(t, folder(t, task)))
	for _, p := range all {
		if below := p.Top[0].Probability < own.Probability; below != p.Unsure {
			t.Errorf("%+v with the threshold %g", p, own.Probability)
		}
		if p.Unsure {
			unsure++
		} else if p.SHA256 == hex.EncodeToString(black[:]) {
			t.Errorf("a black picture is %+v", p.Top[0])
		}
	}
	share := float64(unsure) / float64(len(all))
	t.Logf("sure of %.2f of the signs; unsure of %.2f of %d other photos", float64(own.Coverage), share, len(all))
	if len(all) < 120 || share < 0.4 {
		t.Errorf("unsure of %d of %d photos of other things", unsure, len(all))
	}
}
