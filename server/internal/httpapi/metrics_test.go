package httpapi_test

import (
	"bytes"
	"encoding/csv"
	"io"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/api"
)

func TestMetrics(t *testing.T) {
	f := newFixture(t)
	r := f.run("alice", f.dataset("alice", "a", "b"))
	f.await("alice", r.Id, api.StateSucceeded)
	resp := f.do("alice", "GET", "/api/v1/runs/"+r.Id+"/metrics.csv", nil)
	lines, err := csv.NewReader(resp.Body).ReadAll()
	if err != nil || len(lines) < 2 || lines[0][3] != "epoch" || lines[1][3] != "1" {
		t.Errorf("%q, %v", lines, err)
	}
	if d := resp.Header.Get("Content-Disposition"); d != "attachment; filename=run-1.csv" {
		t.Errorf("named %q", d)
	}
	resp = f.do("alice", "GET", "/api/v1/runs/"+r.Id+"/metrics.tfevents", nil)
	b, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Contains(b, []byte("brain.Event:2")) || bytes.Count(b, []byte("loss/validation")) != len(lines)-1 {
		t.Errorf("%q, %v", b, err)
	}
	if d := resp.Header.Get("Content-Disposition"); !strings.Contains(d, "tfevents") {
		t.Errorf("named %q", d)
	}
}
