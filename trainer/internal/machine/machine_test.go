package machine_test

import (
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/machine"
)

func TestID(t *testing.T) {
	const intel = "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz\n"
	const amd = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC 7763 64-Core Processor\n"
	for name, c := range map[string]struct {
		cpu, memory string
		cores       int
		want        string
	}{
		"intel":         {intel, "MemTotal:       24684084 kB\n", 2, "intel-xeon-platinum-8481c-6-143-2core-32g"},
		"amd":           {amd, "MemTotal:        8388608 kB\n", 4, "amd-epyc-7763-25-1-4core-8g"},
		"a little less": {amd, "MemTotal:        8000000 kB\n", 4, "amd-epyc-7763-25-1-4core-8g"},
		"no memory":     {amd, "", 4, "amd-epyc-7763-25-1-4core"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := machine.IDOf(c.cpu, c.memory, c.cores); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if machine.IDOf("", "", 2) == "" {
		t.Error("a machine that tells nothing has no id")
	}
}

func TestName(t *testing.T) {
	for want, c := range map[string]struct {
		cpu   string
		cores int
	}{
		"Intel Xeon Platinum 8481C, 2 cores": {"model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz\n", 2},
		"AMD EPYC 7763, 1 core":              {"model name\t: AMD EPYC 7763 64-Core Processor\n", 1},
	} {
		if got := machine.NameOf(c.cpu, c.cores); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := machine.NameOf("", 4); got == ", 4 cores" {
		t.Error("a machine that tells nothing has no name")
	}
}
