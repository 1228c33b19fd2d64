package auth

import (
	"net/netip"
	"time"
)

// Failures lets tests look into the memory of failures.
type Failures struct{ f *failures }

// NewFailures is newFailures.
func NewFailures(now func() time.Time) Failures { return Failures{newFailures(now)} }

// Note is note.
func (f Failures) Note(a netip.Addr) time.Duration { return f.f.note(a) }

// Len is how many addresses are remembered.
func (f Failures) Len() int { return len(f.f.by) }
