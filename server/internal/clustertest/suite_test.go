//go:build cluster

package clustertest

import (
	"testing"
)

// scaleOut is the number of images from which on a feature pass is divided; sign-digits has more, so the first run of it
// is divided, and the tests after it find its features.
const scaleOut = 1000

// TestCluster deploys the real images once and does with them, one after the other, what can happen to a training.
func TestCluster(t *testing.T) {
	c, p := newCluster(t)
	dataset := ""
	t.Run("train and deliver", func(t *testing.T) { dataset = testDelivery(t, c, p) })
	if dataset == "" {
		t.Fatal("without a trained dataset nothing else can be tested")
	}
	t.Run("rights", func(t *testing.T) { testRights(t, c) })
	t.Run("wishes", func(t *testing.T) { testWishes(t, c, dataset) })
	t.Run("faults", func(t *testing.T) { testFaults(t, c, dataset) })
	t.Run("limits", func(t *testing.T) { testLimits(t, c, dataset) })
	t.Run("server away", func(t *testing.T) { testServerAway(t, c, dataset) })
	t.Run("nothing is left", func(t *testing.T) { c.noJobs(t) })
}
