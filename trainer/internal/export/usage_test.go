package export_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/export"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// How a model is to be used is read back from every file, and a file that says something else does not pass the check.
func TestUsageTravels(t *testing.T) {
	m := exporttest.Small(t)
	s := sample(t, m, 4)
	for _, f := range export.Formats() {
		t.Run(string(f), func(t *testing.T) {
			for _, usage := range []network.Usage{{}, {Crop: true}, {Threshold: 0.6213}, {Crop: true, Threshold: 1}} {
				m := m
				m.Usage = usage
				dir := t.TempDir()
				a := write(t, dir, f, m)
				r, err := export.Open(filepath.Join(dir, a.Path))
				if err != nil {
					t.Fatal(err)
				}
				if r.Usage != usage {
					t.Errorf("%+v was read as %+v", usage, r.Usage)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
				s.Usage = network.Usage{Crop: usage.Crop, Threshold: 0.5}
				if _, err := export.Check(dir, a, s); err == nil || !strings.Contains(err.Error(), "usage") {
					t.Errorf("the usage %+v passes for %+v (%v)", usage, s.Usage, err)
				}
			}
		})
	}
}
