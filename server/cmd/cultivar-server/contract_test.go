package main_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// checks are what the API is held to: no answer is an internal error, each is one that the document describes, and a method
// that is not there is refused properly.
const checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance,unsupported_method,ignored_auth"

// TestContract has schemathesis ask the live server everything that its document allows, and more.
func TestContract(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	checker, err := filepath.Abs(filepath.Join("..", "..", "..", ".deps", "api-venv", "bin", "schemathesis"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(checker); err != nil {
		if os.Getenv("CULTIVAR_REQUIRE_API_CHECKER") != "" {
			t.Fatal(err)
		}
		t.Skip("SKIPPED, NOT CHECKED: schemathesis is not here; make api-checker")
	}
	m := newMachine(t, `{"epochs":1}`)
	m.watch(m.run(m.upload()).Id).wait(t) // so that there is something to ask about
	m.stop()
	address := freeAddress(t)
	m.server = m.command("--listen", address)
	m.server.Stderr = m.log
	if err := m.server.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server answers", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/readyz", nil)
		if err != nil {
			return false
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	token, err := os.ReadFile(filepath.Join(m.dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), checker, "run", "http://"+address+"/api/v1/openapi.json", "--url", "http://"+address+"/api/v1", //nolint:gosec // of this repository
		"-H", "Authorization: Bearer "+strings.TrimSpace(string(token)), "--checks", checks, "--phases", "examples,coverage,fuzzing",
		"--max-examples", "25", "--request-timeout", "10", "--seed", "1", "--no-color")
	cmd.Dir = t.TempDir() // it keeps examples beside it
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s", err, &said)
	}
	if !strings.Contains(said.String(), "Test cases:") {
		t.Errorf("it asked nothing:\n%s", &said)
	}
	for line := range strings.Lines(said.String()) {
		if strings.Contains(line, "generated") || strings.Contains(line, "Tested:") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if logged := m.log.String(); strings.Contains(logged, `"level":"ERROR"`) {
		t.Errorf("the server logged errors:\n%s", logged)
	}
}

// freeAddress is a port of this machine that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
