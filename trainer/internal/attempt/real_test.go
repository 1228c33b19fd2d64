package attempt_test

import (
	"os"

	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/attempt"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

func TestTrashnet(t *testing.T) {
	dir := t.TempDir()
	if d := os.Getenv("KEEP"); d != "" {
		dir = d
	}
	spec := tasktest.Train(t, dir, tasktest.Data(t, "trashnet"), 0)
	spec.Paths.Bases = tasktest.Bases(t, "efficientnet_lite0")
	spec.Recipe.Base = "efficientnet_lite0"
	spec.Recipe.Exports = []string{"h5", "savedmodel"}
	tasktest.WriteSpec(t, dir, spec)
	result, err := attempt.Run(t.Context(), spec, attempt.Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v %v", result, *result.TestAccuracy)

}
