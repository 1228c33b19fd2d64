// Package version tells which build of Cultivar this is. The three programs share it; it takes part in no protocol.
package version

import "runtime/debug"

// Set when linking, with -ldflags "-X …/shared/version.Version=v1.2.3 -X …/shared/version.Commit=0123abc".
var (
	// Version is the release, such as v1.2.3, or dev for a build from a working tree.
	Version = "dev"
	// Commit is the git commit built from; empty: what the Go tool recorded, if anything.
	Commit = ""
)

const shortCommit = 12 // hex digits: unambiguous in any repository of this size

// String returns the release with its commit, as `--version` prints it: "v1.2.3 (0123456789ab)".
func String() string {
	commit := Commit
	if commit == "" {
		commit = recorded()
	}
	if commit == "" {
		return Version
	}
	return Version + " (" + commit[:min(len(commit), shortCommit)] + ")"
}

func recorded() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
