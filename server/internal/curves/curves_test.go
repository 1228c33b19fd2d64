package curves_test

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/curves"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

func points() []curves.Point {
	at := time.Date(2026, 1, 2, 3, 4, 5, 500_000_000, time.UTC)
	point := func(second, attempt int, phase string, epoch int, loss float64) curves.Point {
		return curves.Point{Time: at.Add(time.Duration(second) * time.Second), Epoch: runspec.Epoch{Phase: phase, Epoch: epoch, Attempt: attempt,
			TrainLoss: runspec.Float(loss), ValLoss: runspec.Float(2 * loss), TrainAccuracy: 0.5, ValAccuracy: 0.25, LearningRate: 1e-3, Seconds: 1.5, ImagesPerSecond: 100}}
	}
	return []curves.Point{point(0, 1, "head", 1, 0.75), point(1, 1, "head", 2, 9), point(3, 2, "finetune", 3, math.NaN()), point(2, 2, "head", 2, 0.5)}
}

func TestCSV(t *testing.T) {
	var b bytes.Buffer
	if err := curves.WriteCSV(&b, curves.Settled(points())); err != nil {
		t.Fatal(err)
	}
	const want = `time,attempt,phase,epoch,train_loss,train_accuracy,val_loss,val_accuracy,learning_rate,seconds,images_per_second
2026-01-02T03:04:05.5Z,1,head,1,0.75,0.5,1.5,0.25,0.001,1.5,100
2026-01-02T03:04:07.5Z,2,head,2,0.5,0.5,1,0.25,0.001,1.5,100
2026-01-02T03:04:08.5Z,2,finetune,3,,0.5,,0.25,0.001,1.5,100
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// TensorFlow's own reader, which compares the checksums, reads what is written.
func TestEvents(t *testing.T) {
	python := filepath.Join("..", "..", "..", ".deps", "venv", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		if os.Getenv("CULTIVAR_REQUIRE_PYTHON") != "" {
			t.Fatal(err)
		}
		t.Skip("SKIPPED, NOT CHECKED: there is no Python with TensorFlow; make venv")
	}
	file := filepath.Join(t.TempDir(), curves.EventsName(7))
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := curves.WriteEvents(f, curves.Settled(points())); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	const script = `
import sys, json, tensorflow as tf
out = []
for e in tf.compat.v1.train.summary_iterator(sys.argv[1]):
    out.append([e.wall_time, e.step, e.file_version, {v.tag: round(v.simple_value, 6) for v in e.summary.value}])
print(json.dumps(out))
`
	cmd := exec.CommandContext(t.Context(), python, "-c", script, file) //nolint:gosec // of this repository
	cmd.Env = append(os.Environ(), "TF_CPP_MIN_LOG_LEVEL=3")
	said, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	var got, want any
	const expected = `[[1767323045.5, 0, "brain.Event:2", {}],
		[1767323045.5, 1, "", {"loss/train": 0.75, "accuracy/train": 0.5, "loss/validation": 1.5, "accuracy/validation": 0.25, "learning_rate": 0.001, "images_per_second": 100}],
		[1767323047.5, 2, "", {"loss/train": 0.5, "accuracy/train": 0.5, "loss/validation": 1, "accuracy/validation": 0.25, "learning_rate": 0.001, "images_per_second": 100}],
		[1767323048.5, 3, "", {"accuracy/train": 0.5, "accuracy/validation": 0.25, "learning_rate": 0.001, "images_per_second": 100}]]`
	if err := json.Unmarshal(said, &got); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if err := json.Unmarshal([]byte(expected), &want); err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if !bytes.Equal(a, b) {
		t.Errorf("read\n%s\nwant\n%s", a, b)
	}
	if !strings.Contains(file, "tfevents") {
		t.Errorf("TensorBoard does not look at %s", file)
	}
}
