// Package fsck holds the database and the volume against the invariants that the server promises (docs/operations.md). It
// looks and changes nothing; it may run beside the server.
package fsck

import (
	"context"
	"fmt"
	"slices"

	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/ingest"
	"github.com/cultivar-ml/cultivar/server/internal/store"
)

// Finding is something that breaks an invariant.
type Finding struct {
	Invariant string // I1 … I8
	What      string // id or file that it is about
	Text      string
}

// Options say what to check.
type Options struct {
	Store  *store.Store
	Volume *files.Volume
	Read   bool // read every image and every file, and compare their hashes
	Live   bool // a server may change things meanwhile
}

// Report is what was found.
type Report struct {
	Findings []Finding
	Packs    int
	Datasets int
	Tasks    int
	Files    int            // artifacts
	Strays   []ingest.Stray // room to be had, no damage
}

// Run checks everything. What seems broken beside a running server and is not so at a second look was only changing.
func Run(ctx context.Context, o Options) (Report, error) {
	r, err := look(ctx, o)
	if err != nil || !o.Live || len(r.Findings)+len(r.Strays) == 0 {
		return r, err
	}
	again, err := look(ctx, o)
	if err != nil {
		return r, err
	}
	again.Findings = slices.DeleteFunc(again.Findings, func(f Finding) bool { return !slices.Contains(r.Findings, f) })
	again.Strays = slices.DeleteFunc(again.Strays, func(f ingest.Stray) bool {
		return !slices.ContainsFunc(r.Strays, func(before ingest.Stray) bool { return before.Name == f.Name })
	})
	return again, nil
}

func look(ctx context.Context, o Options) (Report, error) {
	contradictions, err := o.Store.Contradictions(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("fsck: %w", err)
	}
	var r Report
	for _, c := range contradictions {
		r.Findings = append(r.Findings, Finding(c))
	}
	stock, err := o.Store.Stock(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("fsck: %w", err)
	}
	l := looker{Options: o, stock: stock, report: &r}
	for _, part := range []func(context.Context) error{l.packs, l.datasets, l.uploads, l.artifacts, l.strays} {
		if err := part(ctx); err != nil {
			return Report{}, fmt.Errorf("fsck: %w", err)
		}
	}
	return r, nil
}

// looker goes through the volume.
type looker struct {
	Options
	stock  store.Stock
	report *Report
}

func (l looker) found(invariant, what, format string, args ...any) {
	l.report.Findings = append(l.report.Findings, Finding{invariant, what, fmt.Sprintf(format, args...)})
}
