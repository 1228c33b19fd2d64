//go:build race

package main_test

// buildFlags builds the server as the tests are built, so that its races are found too.
func buildFlags() []string { return []string{"-race"} }
