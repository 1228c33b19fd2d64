package network

import (
	"fmt"
	"math"
	"strings"
)

// maxFaults bounds how many faulty arrays one error names.
const maxFaults = 5

// Validate checks that w has every array of the network in its shape with finite values. The error names what is
// missing, mis-shaped or not finite. Arrays the network does not use are ignored.
func (n Network) Validate(w Weights) error {
	arrays, err := n.Arrays()
	if err != nil {
		return err
	}
	var faults []string
	for _, a := range arrays {
		if fault := a.check(w); fault != "" {
			faults = append(faults, fault)
		}
	}
	if len(faults) == 0 {
		return nil
	}
	shown, more := faults, ""
	if len(faults) > maxFaults {
		shown, more = faults[:maxFaults], fmt.Sprintf(" and %d more", len(faults)-maxFaults)
	}
	return fmt.Errorf("weights do not fit %s: %s%s", n.Name, strings.Join(shown, "; "), more)
}

// check returns what is wrong with the array in w, or "".
func (a Array) check(w Weights) string {
	t, ok := w[a.Name]
	switch {
	case !ok:
		return fmt.Sprintf("%s is missing", a.Name)
	case !equalShape(t.Shape, a.Shape):
		return fmt.Sprintf("%s has shape %v instead of %v", a.Name, t.Shape, a.Shape)
	case len(t.Data) != product(t.Shape):
		return fmt.Sprintf("%s has %d values instead of %d", a.Name, len(t.Data), product(t.Shape))
	}
	for i, v := range t.Data {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Sprintf("%s has the value %v at %d", a.Name, v, i)
		}
	}
	if strings.HasSuffix(a.Name, "/moving_variance") {
		for i, v := range t.Data {
			if v < 0 {
				return fmt.Sprintf("%s has the negative variance %v at %d", a.Name, v, i)
			}
		}
	}
	return ""
}
