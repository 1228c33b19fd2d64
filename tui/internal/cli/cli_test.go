package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/adrg/xdg"

	"github.com/cultivar-ml/cultivar/tui/internal/cli"
	"github.com/cultivar-ml/cultivar/tui/internal/sample"
)

// outcome is what a command did.
type outcome struct {
	out, err string
	code     int
}

// cultivar runs a command line as main does, without a terminal.
func cultivar(ctx context.Context, t *testing.T, args ...string) outcome {
	t.Helper()
	return with(ctx, t, cli.Program{}, args...)
}

// with runs a command line in surroundings that differ from a script's in what p says.
func with(ctx context.Context, t *testing.T, p cli.Program, args ...string) outcome {
	t.Helper()
	var out, errs bytes.Buffer
	root := cli.New(&cli.Program{In: p.In, Secret: p.Secret, Poll: time.Millisecond, Out: &out, Err: &errs, Now: time.Now, Screens: func(context.Context, cli.Start) error {
		t.Error("the screens were started without a terminal")
		return nil
	}})
	root.SilenceUsage, root.SilenceErrors = true, true
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		errs.WriteString(cli.Message(err))
	}
	return outcome{out.String(), errs.String(), cli.ExitCode(err)}
}

// expect checks exit code and that each text is said, on either stream.
func (o outcome) expect(t *testing.T, code int, texts ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, want %d", o.code, code)
	}
	for _, text := range texts {
		if !strings.Contains(o.out+o.err, text) {
			t.Errorf("nothing says %q", text)
		}
	}
	if t.Failed() {
		t.Logf("stdout:\n%s\nstderr:\n%s", o.out, o.err)
	}
}

// nobody points the command line at a server that is not there, and all state into the test's folder.
func nobody(t *testing.T) {
	t.Helper()
	t.Setenv("CULTIVAR_SERVER", "http://127.0.0.1:1")
	t.Setenv("CULTIVAR_TOKEN", "")
	private(t)
}

// private keeps all that the command line keeps in the test's folders.
func private(t *testing.T) {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	xdg.Reload()
}

func TestUsage(t *testing.T) {
	nobody(t)
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"no terminal":         {nil, 2, []string{"need a terminal", "cultivar train FOLDER"}},
		"folder, no terminal": {[]string{dir}, 2, []string{"cultivar train " + dir}},
		"misspelt verb":       {[]string{"trian"}, 2, []string{"neither a verb nor a folder", "`cultivar train`"}},
		"escape in a verb":    {[]string{"\x1b[31m"}, 2, []string{"␛[31m"}},
		"unknown flag":        {[]string{"check", "--nope", dir}, 2, []string{"--nope", "cultivar check --help"}},
		"missing folder":      {[]string{"check"}, 2, []string{"accepts 1 arg"}},
		"wait and detach":     {[]string{"train", dir, "--wait", "--detach"}, 2, []string{"wait"}},
		"bad recipe value":    {[]string{"train", dir, "--epochs", "0"}, 2, []string{"--epochs is 0", "between 1 and 1000"}},
		"no number":           {[]string{"train", dir, "--epochs", "many"}, 2, []string{"a whole number"}},
		"unknown preset":      {[]string{"train", dir, "--preset", "fast"}, 2, []string{"quick, balanced, best"}},
		"two shares":          {[]string{"train", dir, "--validation-split", "0.5", "--test-split", "0.5"}, 2, []string{"lower one"}},
		"format and all":      {[]string{"download", "1", "--format", "h5", "--all"}, 2, []string{"exclude each other"}},
		"help topic":          {[]string{"help", "exit-codes"}, 0, []string{"130  ctrl+c"}},
		"exit codes":          {[]string{"exit-codes"}, 0, []string{"5  the server is not reachable"}},
		"no mail address":     {[]string{"train", dir, "--email", "me"}, 2, []string{"--email", "is not a mail address"}},
		"share, no address":   {[]string{"share", "1", "--email", "a@b.org\nBcc: c@d.org"}, 2, []string{"is not a mail address"}},
		"share, both":         {[]string{"share", "1", "--retry", "--status"}, 2, []string{"stand alone"}},
		"login, password":     {[]string{"login", "https://me:pw@h"}, 2, []string{"leave them out"}},
		"login, no terminal":  {[]string{"login", "http://127.0.0.1:1"}, 2, []string{"--token-file"}},
		"login, clear text":   {[]string{"login", "http://gpu.example.org"}, 1, []string{"not encrypted", "--insecure"}},
		"flag, clear text":    {[]string{"runs", "--server", "http://gpu.example.org"}, 1, []string{"not encrypted", "forward a port"}},
		"logout of nothing":   {[]string{"logout"}, 3, []string{"signed in to no server"}},
		"no server":           {[]string{"runs"}, 5, []string{"http://127.0.0.1:1", "does not answer"}},
		"doctor, no server":   {[]string{"doctor"}, 5, []string{"FAIL  server", "http://127.0.0.1:1"}},
		"train, no server":    {[]string{"train", dir, "-o", dir}, 5, []string{"does not answer"}},
		"bad address":         {[]string{"runs", "--server", "ftp://x"}, 1, []string{"of no known form"}},
		"no output folder":    {[]string{"train", dir, "-o", filepath.Join(dir, "absent")}, 1, []string{"is no folder"}},
		"completion":          {[]string{"completion", "bash"}, 0, []string{"bash completion"}},
	} {
		t.Run(name, func(t *testing.T) { cultivar(t.Context(), t, tc.args...).expect(t, tc.code, tc.says...) })
	}
}

func TestEveryRecipeFieldHasAFlag(t *testing.T) {
	o := cultivar(t.Context(), t, "train", "--help")
	o.expect(t, 0, "--learning-rate", "--class-weights", "How big each correction is", "(default: quick 1, balanced 4, best 8)", "Any of h5, keras, savedmodel")
}

func TestSampleAndCheck(t *testing.T) {
	nobody(t)
	dir := filepath.Join(t.TempDir(), "garden")
	cultivar(t.Context(), t, "sample", dir, "--per-class", "6", "--problems").expect(t, 0, "30 pictures of 5 classes")

	t.Run("text", func(t *testing.T) {
		cultivar(t.Context(), t, "check", dir).expect(t, 0, "garden: ", "5 classes", "daisy", "notes.jpg", "copy of clover.jpg", "empty.jpg", "cut-short.jpg")
	})
	t.Run("strict", func(t *testing.T) {
		cultivar(t.Context(), t, "check", "--strict", dir).expect(t, 6, "--strict was given")
	})
	t.Run("json", func(t *testing.T) {
		o := cultivar(t.Context(), t, "check", "--json", dir)
		var r struct {
			Images   int
			Digest   string
			Classes  []struct{ Name string }
			Problems []struct{ Reason, Path string }
		}
		if err := json.Unmarshal([]byte(o.out), &r); err != nil {
			t.Fatalf("%v in %s", err, o.out)
		}
		reasons := map[string]string{}
		for _, p := range r.Problems {
			reasons[filepath.Base(p.Path)] = p.Reason
		}
		if r.Images != 30 || len(r.Classes) != len(sample.Classes()) || len(r.Digest) != 64 || reasons["notes.jpg"] != "not_an_image" || reasons["empty.jpg"] != "empty" {
			t.Errorf("report %+v", r)
		}
		if o.err != "" {
			t.Errorf("with --json, standard error says %q", o.err)
		}
	})
	t.Run("into a folder of other things", func(t *testing.T) {
		other := t.TempDir()
		if err := os.WriteFile(filepath.Join(other, "thesis.txt"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		cultivar(t.Context(), t, "sample", other).expect(t, 1, "thesis.txt")
	})
}

func TestCheckNamesAreSafe(t *testing.T) {
	nobody(t)
	dir := t.TempDir()
	for _, class := range []string{"a\x1b]0;owned\a", "b\u202eevil"} {
		if err := os.Mkdir(filepath.Join(dir, class), 0o700); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if err := os.WriteFile(filepath.Join(dir, class, string(rune('a'+i))+".jpg"), sample.Picture(1, 0, i+10*len(class)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	o := cultivar(t.Context(), t, "check", dir)
	o.expect(t, 0, "␛]0;owned", "‹U+202E›evil")
	if strings.ContainsAny(o.out+o.err, "\x1b\a\u202e") {
		t.Errorf("an escape sequence reaches the terminal: %q", o.out+o.err)
	}
}

func TestCheckOfWhatIsNoDataset(t *testing.T) {
	nobody(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "photo.jpg")
	if err := os.WriteFile(file, sample.Picture(1, 0, 0), 0o600); err != nil {
		t.Fatal(err)
	}
	cultivar(t.Context(), t, "check", file).expect(t, 1, "is a file")
	cultivar(t.Context(), t, "check", filepath.Join(dir, "absent")).expect(t, 1, "there is no folder")
	cultivar(t.Context(), t, "check", "--strict", dir).expect(t, 6, "no class folders")
}

func TestInterrupted(t *testing.T) {
	nobody(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := cultivar(ctx, t, "check", t.TempDir())
	o.expect(t, 130)
	if strings.Contains(o.err, "cancel") {
		t.Errorf("after ctrl+c it says %q", o.err)
	}
}
