package export

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/cultivar-ml/cultivar/trainer/internal/evaluate"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/labels"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Sample is what an artifact is checked on: held-out images with the trained model's own answers for them.
type Sample struct {
	Labels        []string // the trained model's class names, in output order
	Usage         network.Usage
	Images        []float32 // [n,size,size,3] of 0…255, prepared as for training
	Probabilities []float32 // [n,classes], the trained model's
	// Encoded are the same n images as files of any kind, for formats that decode photos themselves; empty to leave
	// that out.
	Encoded [][]byte
}

// Agreement compares an artifact's answers with the trained model's.
type Agreement struct {
	MaxDifference float64 // largest absolute difference of two probabilities
	Top1          float64 // share of images with the same first class, 0…1
}

// EncodedAgreement is Agreement over the JPEG and PNG files among the encoded images. It is lower by what the artifact
// leaves out when it decodes, such as the EXIF orientation.
type EncodedAgreement struct {
	Agreement
	Images int // how many were compared
	Failed int // how many more are JPEG or PNG, but the artifact could not decode them
}

// Report is the outcome of Check.
type Report struct {
	Images int // how many were compared
	Agreement
	// MsPerImage is milliseconds an image in batches on all cores, loading and warming up not counted; 0 for formats whose
	// integers are simulated here, which says nothing of their speed.
	MsPerImage float64
	// Encoded is the agreement when the artifact itself decodes the files; nil when it cannot or there were none.
	Encoded *EncodedAgreement
	// Probabilities are the artifact's answers [n,classes], for accuracy figures of its own.
	Probabilities []float32
}

// Check loads artifact a of folder dir from its file alone, runs it on the sample and compares. An error means that it
// cannot be loaded or run, or that its class names or usage are not the sample's; whether a difference is too large is for the
// caller to say.
func Check(dir string, a Artifact, s Sample) (Report, error) {
	if a.Path == "" {
		return Report{}, fmt.Errorf("check %s: it is not a model", a.Name)
	}
	r, err := Open(filepath.Join(dir, a.Path))
	if err != nil {
		return Report{}, fmt.Errorf("check %s: %w", a.Name, err)
	}
	report, err := r.check(s)
	if err = errors.Join(err, r.Close()); err != nil {
		return Report{}, fmt.Errorf("check %s: %w", a.Name, err)
	}
	return report, nil
}

func (r *Runner) check(s Sample) (Report, error) {
	// As text, because formats that keep names as lines cannot keep the line breaks in them.
	if !slices.Equal(labels.Text(r.Labels), labels.Text(s.Labels)) {
		return Report{}, fmt.Errorf("its class names are %q instead of %q", r.Labels, s.Labels)
	}
	if r.Usage != s.Usage {
		return Report{}, fmt.Errorf("its usage is %+v instead of %+v", r.Usage, s.Usage)
	}
	each := r.Size * r.Size * 3
	if len(s.Images) == 0 || len(s.Images)%each != 0 {
		return Report{}, fmt.Errorf("%d values are no whole images of %d×%d pixels", len(s.Images), r.Size, r.Size)
	}
	n := len(s.Images) / each
	// The first run of a session plans its memory and optimises the graph.
	if _, err := r.predict(s.Images[:min(n, batchSize)*each]); err != nil {
		return Report{}, err
	}
	start := time.Now()
	answers, err := r.Predict(s.Images)
	if err != nil {
		return Report{}, err
	}
	report := Report{Images: n, Probabilities: answers}
	if !r.simulated {
		report.MsPerImage = float64(time.Since(start).Microseconds()) / 1000 / float64(n)
	}
	if report.Agreement, err = compare(answers, s.Probabilities, len(s.Labels)); err != nil {
		return Report{}, err
	}
	if r.bytes == nil || len(s.Encoded) == 0 {
		return report, nil
	}
	if len(s.Encoded) != n {
		return Report{}, fmt.Errorf("there are %d encoded images for %d prepared ones", len(s.Encoded), n)
	}
	encoded, err := r.checkEncoded(s)
	if err != nil {
		return Report{}, fmt.Errorf("encoded images: %w", err)
	}
	report.Encoded = &encoded
	return report, nil
}

// checkEncoded sends one file at a time, so that one that cannot be decoded does not spoil the others.
func (r *Runner) checkEncoded(s Sample) (EncodedAgreement, error) {
	var e EncodedAgreement
	var got, want []float32
	classes := len(s.Labels)
	for i, file := range s.Encoded {
		if !bytes.HasPrefix(file, []byte("\xff\xd8\xff")) && !bytes.HasPrefix(file, []byte("\x89PNG\r\n\x1a\n")) {
			continue
		}
		answer, err := r.bytes([][]byte{file})
		if err != nil {
			e.Failed++
			continue
		}
		e.Images++
		got = append(got, answer...)
		want = append(want, s.Probabilities[i*classes:(i+1)*classes]...)
	}
	if e.Images == 0 {
		return e, nil
	}
	var err error
	e.Agreement, err = compare(got, want, classes)
	return e, err
}

// compare takes answers [n,classes] of both. A value that is not a number is an infinite difference.
func compare(got, want []float32, classes int) (Agreement, error) {
	if len(got) != len(want) || classes == 0 || len(got)%classes != 0 {
		return Agreement{}, fmt.Errorf("there are %d probabilities for %d expected ones of %d classes", len(got), len(want), classes)
	}
	var a Agreement
	same := 0
	for i := 0; i < len(got); i += classes {
		g, w := got[i:i+classes], want[i:i+classes]
		for c := range g {
			difference := math.Abs(float64(g[c]) - float64(w[c]))
			if math.IsNaN(difference) {
				difference = math.Inf(1)
			}
			a.MaxDifference = max(a.MaxDifference, difference)
		}
		if evaluate.Best(g) == evaluate.Best(w) {
			same++
		}
	}
	a.Top1 = float64(same) / float64(len(got)/classes)
	return a, nil
}
