package bases_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/bases"
	"github.com/cultivar-ml/cultivar/trainer/internal/machine"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// said is what a verb of the command prints.
func said(t *testing.T, args ...string) (out, problems string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c := bases.Command(func() {})
	c.SetArgs(args)
	c.SetOut(&stdout)
	c.SetErr(&stderr)
	err = c.Execute()
	return stdout.String(), stderr.String(), err
}

func TestAddMeasuresAndListShows(t *testing.T) {
	dir := t.TempDir()
	file := made(t, "mobilenet_v2_035", 0.5)
	out, problems, err := said(t, "add", "mobilenet_v2_035", file, "--to", dir)
	if err != nil || problems != "" || !strings.Contains(out, "nobody vouches for the file") || !strings.Contains(out, "ms an image on all cores of") {
		t.Fatalf("%v, %s: %s", err, problems, out)
	}
	speeds, err := bases.Speeds(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := speeds["mobilenet_v2_035"]
	if s.MsPerImage <= 0 || s.MsPerImage > 1000 || s.Machine != machine.Name() || s.Measured.IsZero() {
		t.Errorf("measured %+v", s)
	}
	if out, _, err := said(t, "add", "mobilenet_v2_035", file, "--to", dir); err != nil || strings.Contains(out, "ms an image") {
		t.Errorf("measured again what is known: %v: %s", err, out)
	}
	if out, _, err := said(t, "measure", "--dir", dir); err != nil || !strings.Contains(out, "mobilenet_v2_035: ") {
		t.Errorf("measure: %v: %s", err, out)
	}

	type row struct {
		Name       string  `json:"name"`
		Params     int     `json:"params"`
		Bytes      int     `json:"bytes"`
		MACs       int     `json:"macs"`
		MsPerImage float64 `json:"ms_per_image"`
		MeasuredOn string  `json:"measured_on"`
		Installed  bool    `json:"installed"`
		Unverified bool    `json:"unverified"`
	}
	var rows []row
	out, _, err = said(t, "list", "--dir", dir, "--json", "--all")
	if err != nil || json.Unmarshal([]byte(out), &rows) != nil || len(rows) != len(network.Names()) {
		t.Fatalf("%v: %s", err, out)
	}
	i := slices.IndexFunc(rows, func(r row) bool { return r.Name == "mobilenet_v2_035" })
	if r := rows[i]; r.Bytes != 4*410208 || r.MACs != 58005808 || r.MsPerImage <= 0 || r.MeasuredOn != machine.Name() || !r.Installed || !r.Unverified {
		t.Errorf("%+v", r)
	}
	i = slices.IndexFunc(rows, func(r row) bool { return r.Name == "efficientnet_lite2" })
	if r := rows[i]; r.Params != 4869168 || r.MsPerImage != 0 || r.Installed || r.Unverified {
		t.Errorf("%+v", r)
	}
	if out, _, err := said(t, "list", "--dir", dir); err != nil || strings.Contains(out, "not installed") {
		t.Errorf("%v: lists what is not installed:\n%s", err, out)
	}
	out, _, err = said(t, "list", "--dir", dir, "--all")
	for _, want := range []string{"1.6 MB", "58 M", machine.Name(), "unverified", "not installed: https://storage.googleapis.com/", "858 M"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v; no %q in\n%s", err, want, out)
		}
	}
}

func TestDamagedSpeeds(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, runspec.SpeedsFile), []byte("["), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bases.Speeds(dir); err == nil || !strings.Contains(err.Error(), "measure again") {
		t.Errorf("got %v", err)
	}
	// A base is installed all the same.
	_, problems, err := said(t, "add", "mobilenet_v2_035", made(t, "mobilenet_v2_035", 0.5), "--to", dir)
	if err != nil || !strings.Contains(problems, "could not be measured") {
		t.Errorf("%v: %s", err, problems)
	}
}

func TestMeasureNeedsABase(t *testing.T) {
	if _, _, err := said(t, "measure", "--dir", t.TempDir()); err == nil || !strings.Contains(err.Error(), "nothing to measure") {
		t.Errorf("got %v", err)
	}
}

// TestSources guards what the set-up script cuts at the tabs.
func TestSources(t *testing.T) {
	out, _, err := said(t, "sources")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for line := range strings.Lines(out) {
		columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(columns) != 3 || columns[2] == "" || len(columns[1]) != 64 && columns[1] != "-" {
			t.Fatalf("line %q", line)
		}
		if strings.HasPrefix(columns[0], "mobilenet") != strings.HasPrefix(columns[2], "https://") {
			t.Errorf("line %q", line)
		}
		names = append(names, columns[0])
	}
	if slices.Sort(names); !slices.Equal(names, slices.Sorted(slices.Values(network.Names()))) {
		t.Errorf("sources of %v", names)
	}
}
