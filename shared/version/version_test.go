package version_test

import (
	"testing"

	"github.com/cultivar-ml/cultivar/shared/version"
)

func TestString(t *testing.T) {
	defer func(v, c string) { version.Version, version.Commit = v, c }(version.Version, version.Commit)
	for _, tc := range []struct{ version, commit, want string }{
		{"v1.2.3", "0123456789abcdef0123", "v1.2.3 (0123456789ab)"},
		{"v1.2.3", "0123", "v1.2.3 (0123)"},
		{"dev", "", "dev"},
	} {
		version.Version, version.Commit = tc.version, tc.commit
		if got := version.String(); got != tc.want {
			t.Errorf("version %q, commit %q: got %q, want %q", tc.version, tc.commit, got, tc.want)
		}
	}
}
