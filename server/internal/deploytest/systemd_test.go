package deploytest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/server/internal/config"
)

// exposure is ten times what `systemd-analyze security` may say of the unit.
const exposure = "20"

func TestUnitIsUnderstoodAndHardened(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(deploy, "systemd", "cultivar-server.service"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"KillMode=process", "NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "CapabilityBoundingSet=\n", "User=cultivar",
		"ExecStart=/opt/cultivar/bin/cultivar-server serve --config /etc/cultivar/config.yaml\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the unit has no %q", want)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("SKIPPED, NOT CHECKED: systemd-analyze is not here to read the unit")
	}
	unit := filepath.Join(t.TempDir(), "cultivar-server.service")
	// The program need not be installed on the machine that runs the tests.
	if err := os.WriteFile(unit, []byte(strings.Replace(string(text), "/opt/cultivar/bin/cultivar-server", "/bin/true", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", unit).CombinedOutput(); err != nil || strings.Contains(string(out), unit) {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold="+exposure, unit).CombinedOutput(); err != nil {
		t.Errorf("more exposed than %s tenths: %v\n%s", exposure, err, out)
	}
}

func TestUnitsSettingsAreUnderstood(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(deploy, "systemd", "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	c, err = c.Resolve(config.System{Getenv: func(string) string { return "" }, Exists: func(string) bool { return false }})
	if err != nil {
		t.Fatal(err)
	}
	if !c.Shared() || c.Data != "/var/lib/cultivar" || c.Runner != config.RunnerLocal {
		t.Errorf("%+v", c)
	}
}
