package bases_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/bases"
)

func TestCopyKeepsOthersAndRefusesDamage(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "bases")
	entry, err := bases.Install(from, "efficientnet_lite0", made(t, "efficientnet_lite0", 0.5))
	if err != nil {
		t.Fatal(err)
	}
	other, err := bases.Install(to, "mobilenet_v2", made(t, "mobilenet_v2", 0.25))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a Job may run again
		copied, err := bases.Copy(from, to)
		if err != nil || !reflect.DeepEqual(copied, []bases.Entry{entry}) {
			t.Fatalf("copied %+v, %v", copied, err)
		}
	}
	catalog, err := bases.Open(to)
	if err != nil {
		t.Fatal(err)
	}
	if len(catalog.Entries) != 2 {
		t.Fatalf("%+v", catalog.Entries)
	}
	for _, want := range []bases.Entry{entry, other} {
		if _, _, got, err := bases.Load(to, want.Name); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	}

	if err := os.Truncate(filepath.Join(from, entry.File), 1000); err != nil {
		t.Fatal(err)
	}
	if copied, err := bases.Copy(from, to); err == nil || len(copied) != 0 {
		t.Errorf("a damaged file was copied: %+v", copied)
	}
	if _, _, _, err := bases.Load(to, entry.Name); err != nil {
		t.Errorf("the copy that was good: %v", err)
	}
	if _, err := bases.Copy(t.TempDir(), to); err == nil {
		t.Error("an empty folder was copied without a word")
	}
}
