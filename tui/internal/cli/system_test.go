package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/cli"
	"github.com/cultivar-ml/cultivar/tui/internal/local"
)

// system starts the real server, with the real trainer and base models, for the command line to find.
func system(t *testing.T) {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	bin, bases := os.Getenv("CULTIVAR_BIN"), os.Getenv("CULTIVAR_BASES")
	if bin == "" {
		bin = filepath.Join(root, "bin")
	}
	if bases == "" {
		bases = filepath.Join(root, ".deps", "bases")
	}
	for _, path := range []string{filepath.Join(bin, "cultivar-server"), filepath.Join(bin, "cultivar-trainer"), filepath.Join(bases, runspec.BasesFile)} {
		if _, err := os.Stat(path); err != nil {
			t.Skip("SKIPPED, NOT CHECKED: the programs or base models are not there: run `make build bases`")
		}
	}
	data, err := os.MkdirTemp("", "cv") // short: a socket lies in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	t.Setenv("CULTIVAR_DATA", data)
	t.Setenv("CULTIVAR_SERVER", "")
	t.Setenv("CULTIVAR_TOKEN", "")
	private(t)
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	server := exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join(bin, "cultivar-server"), "serve", "--data", data, "--bases", bases)
	log, err := os.Create(filepath.Join(data, "test.log"))
	if err != nil {
		t.Fatal(err)
	}
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
		if b, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the server's log:\n%s", b)
		}
		_ = log.Close()
	})
	for deadline := time.Now().Add(30 * time.Second); ; {
		if _, err := os.Stat(local.Socket(data)); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not listen")
		}
	}
}

// line is any line of --json.
type line struct {
	Event        string `json:"message_type"`
	Run          json.RawMessage
	ID           int64
	Record       runspec.Record
	Number       int
	State        string
	ValAccuracy  *float64 `json:"val_accuracy"`
	TestAccuracy *float64 `json:"test_accuracy"`
	Files        []string
	Images       int
	KnownImages  int `json:"known_images"`
}

func linesOf(t *testing.T, o outcome) []line {
	t.Helper()
	var all []line
	s := bufio.NewScanner(strings.NewReader(o.out))
	s.Buffer(nil, 4<<20)
	for s.Scan() {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			t.Fatalf("%v in %s", err, s.Text())
		}
		all = append(all, l)
	}
	return all
}

// checkEpochs wants epochs 1…n, each once and in order, and returns n.
func checkEpochs(t *testing.T, all []line) int {
	t.Helper()
	var epochs []int
	var last int64
	for _, l := range all {
		if l.Event != "record" {
			continue
		}
		if l.ID <= last {
			t.Errorf("event %d comes after event %d", l.ID, last)
		}
		last = l.ID
		if e, ok := l.Record.Body.(runspec.Epoch); ok {
			epochs = append(epochs, e.Epoch)
		}
	}
	for i, e := range epochs {
		if e != i+1 {
			t.Fatalf("epochs %v", epochs)
		}
	}
	if len(epochs) == 0 {
		t.Error("no epochs at all")
	}
	return len(epochs)
}

// TestWholePath goes from a folder to predictions with the real server and trainer, verb by verb.
func TestWholePath(t *testing.T) {
	system(t)
	ctx := t.Context()
	work := t.TempDir()
	garden, home := filepath.Join(work, "my garden"), filepath.Join(work, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	cultivar(ctx, t, "sample", garden, "--per-class", "16", "--problems").expect(t, 0)
	cultivar(ctx, t, "runs").expect(t, 0, "No runs yet")
	cultivar(ctx, t, "results", "latest").expect(t, 3, "There are no runs yet")
	cultivar(ctx, t, "doctor").expect(t, 0, "data folder", "server on this machine", "base model")
	cultivar(ctx, t, "bases").expect(t, 0, "efficientnet_lite0")

	cultivar(ctx, t, "plan", garden).expect(t, 0, "quick", "80 of 80", "With quick: ")

	o := cultivar(ctx, t, "train", garden, "--json", "--epochs", "12", "--patience", "12", "--finetune-epochs", "0", "-o", home)
	o.expect(t, 0)
	all := linesOf(t, o)
	n := checkEpochs(t, all)
	last := all[len(all)-1]
	if all[0].Event != "scan" || all[0].Images != 80 || last.Event != "result" || last.State != "succeeded" || last.Number != 1 {
		t.Fatalf("first line %+v, last line %+v", all[0], last)
	}
	if last.TestAccuracy == nil || *last.TestAccuracy < 0.4 || *last.TestAccuracy > 1 {
		t.Errorf("test accuracy %v", last.TestAccuracy)
	}
	if want := []string{filepath.Join(home, "my-garden.h5"), filepath.Join(home, "my-garden-labels.txt"), filepath.Join(home, "my-garden-report.html")}; !slices.Equal(last.Files, want) {
		t.Errorf("files %q, want %q", last.Files, want)
	}

	t.Run("watch tells each epoch once", func(t *testing.T) {
		o := cultivar(ctx, t, "watch", "#1", "--json")
		o.expect(t, 0)
		if again := checkEpochs(t, linesOf(t, o)); again != n {
			t.Errorf("%d epochs, but %d when it was trained", again, n)
		}
		cultivar(ctx, t, "watch", "1").expect(t, 0, "has finished", "epoch   1", "Test accuracy")
	})
	t.Run("lists", func(t *testing.T) {
		cultivar(ctx, t, "runs").expect(t, 0, "#1", "my garden", "succeeded")
		cultivar(ctx, t, "datasets").expect(t, 0, "my garden", "80", "ready")
		cultivar(ctx, t, "watch", "99").expect(t, 3, "no run #99")
		cultivar(ctx, t, "watch", "nonsense").expect(t, 3)
	})
	t.Run("models", func(t *testing.T) {
		cultivar(ctx, t, "models").expect(t, 0, "my garden@best", "my garden@latest", "#1")
		cultivar(ctx, t, "models", "name", "my garden@shop", "latest").expect(t, 0, "my garden@shop is run #1 now")
		cultivar(ctx, t, "watch", "my garden@shop").expect(t, 0, "has finished")
		cultivar(ctx, t, "models", "--json").expect(t, 0, `"name":"my garden@shop"`)
		cultivar(ctx, t, "models", "unname", "my garden@shop").expect(t, 0)
		cultivar(ctx, t, "watch", "my garden@shop").expect(t, 3, "no model")
	})
	t.Run("results", func(t *testing.T) {
		cultivar(ctx, t, "results", "latest").expect(t, 0, "test accuracy", "It says unsure when", "right when said", "Rows: what it is", "The training took", "(planned: ")
		cultivar(ctx, t, "plan", garden, "--seed", "5", "--finetune-epochs", "0").expect(t, 0, "these settings", "0 of 80", "No photo has to be read")
	})
	t.Run("download", func(t *testing.T) { downloads(t, home) })
	t.Run("predict", func(t *testing.T) { predictions(t, garden) })
	t.Run("a run goes on from another", func(t *testing.T) {
		o := cultivar(ctx, t, "train", garden, "--json", "--start-from", "1", "--epochs", "3", "-o", t.TempDir())
		o.expect(t, 0, "Going on from an earlier run: it knew 5 of the 5 classes, and 0 of the 80 photos are new.")
		if lines := linesOf(t, o); *lines[len(lines)-1].TestAccuracy < *last.TestAccuracy-0.15 {
			t.Errorf("test accuracy %v, and %v before", *lines[len(lines)-1].TestAccuracy, *last.TestAccuracy)
		}
	})
	t.Run("a student", func(t *testing.T) {
		cultivar(ctx, t, "train", garden, "--features", "last", "--distill", "latest", "--name", "student", "-o", home).expect(t, 0, "asking the teacher", "student.h5")
		cultivar(ctx, t, "results", "latest").expect(t, 0, "Measured side by side", "the teacher", "this model")
	})
	t.Run("nothing is sent twice", func(t *testing.T) {
		o := cultivar(ctx, t, "train", garden, "--json", "--detach", "--seed", "5", "--name", "again")
		o.expect(t, 0)
		lines := linesOf(t, o)
		if u := lines[1]; u.Event != "upload" || u.KnownImages != u.Images || lines[len(lines)-1].Event != "run" {
			t.Errorf("lines %+v", lines)
		}
		cultivar(ctx, t, "cancel", "latest").expect(t, 0, "Run #4, again")
		cultivar(ctx, t, "watch", "4").expect(t, 7, "cancelled")
		cultivar(ctx, t, "download", "4", "-o", home).expect(t, 7, "has no model")
	})
}

func downloads(t *testing.T, home string) {
	ctx := t.Context()
	cultivar(ctx, t, "download", "1", "-o", home).expect(t, 0, "my-garden.h5 is here already")
	if err := os.WriteFile(filepath.Join(home, "my-garden.h5"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	cultivar(ctx, t, "download", "1", "--format", "h5", "-o", home).expect(t, 0, "my-garden-2.h5")
	if b, err := os.ReadFile(filepath.Join(home, "my-garden.h5")); err != nil || string(b) != "mine" {
		t.Errorf("a file of the user's was replaced (%v)", err)
	}
	cultivar(ctx, t, "download", "1", "--format", "h5", "-o", home, "--force").expect(t, 0, "Saved")
	if b, err := os.ReadFile(filepath.Join(home, "my-garden.h5")); err != nil || !strings.HasPrefix(string(b), "\x89HDF") {
		t.Errorf("--force did not replace the file (%v)", err)
	}
	labels := cultivar(ctx, t, "download", "1", "labels.txt", "-o", "-")
	if labels.expect(t, 0); labels.out != "clover\ndaisy\npoppy\nsunflower\ntulip\n" {
		t.Errorf("labels %q", labels.out)
	}
	cultivar(ctx, t, "download", "1", "usage.md", "-o", "-").expect(t, 0, `load_model("model.h5"`)
	cultivar(ctx, t, "download", "1", "model-card.md", "-o", "-").expect(t, 0, "pipeline_tag: image-classification", "| sunflower |")
	if b, err := os.ReadFile(filepath.Join(home, "my-garden-report.html")); err != nil || !strings.Contains(string(b), "sunflower") {
		t.Errorf("the report is not at home (%v)", err)
	}
	cultivar(ctx, t, "download", "1", "nothing.bin", "-o", home).expect(t, 3, "labels.txt")
	cultivar(ctx, t, "download", "1", "-o", filepath.Join(home, "absent")).expect(t, 1, "is no folder")
}

func predictions(t *testing.T, garden string) {
	ctx := t.Context()
	o := cultivar(ctx, t, "predict", "latest", filepath.Join(garden, "poppy", "poppy-001.jpg"), filepath.Join(garden, "daisy"), "--json")
	o.expect(t, 0)
	type answer struct {
		Path  string
		Top   []runspec.Score
		Error string
	}
	var answers []answer
	for text := range strings.Lines(o.out) {
		var a answer
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	if len(answers) != 18 || answers[0].Top[0].Label != "poppy" { // one, 16 daisies and notes.jpg
		t.Fatalf("answers %+v", answers)
	}
	for i, a := range answers {
		if i > 1 && a.Path <= answers[i-1].Path {
			t.Errorf("%s comes after %s", a.Path, answers[i-1].Path)
		}
		if bad := filepath.Base(a.Path) == "notes.jpg"; bad != (a.Error != "") {
			t.Errorf("answer %+v", a)
		}
	}
	cultivar(ctx, t, "predict", "latest", filepath.Join(garden, "absent.jpg")).expect(t, 3, "absent.jpg")

	poppy, err := os.ReadFile(filepath.Join(garden, "poppy", "poppy-001.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	sent := with(ctx, t, cli.Program{In: bytes.NewReader(poppy)}, "predict", "latest", "-", "--json")
	var a answer
	if sent.expect(t, 0); json.Unmarshal([]byte(sent.out), &a) != nil || a.Path != "-" || !reflect.DeepEqual(a.Top, answers[0].Top) {
		t.Errorf("from standard input %s, want %+v", sent.out, answers[0])
	}
	with(ctx, t, cli.Program{In: strings.NewReader("")}, "predict", "latest", "-").expect(t, 1, "the file is empty", "none of the photos could be read")
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "cultivar-photo-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q (%v)", left, err)
	}
}

// TestLeaving is ctrl+c in the middle: the training goes on, and watch shows all of it.
func TestLeaving(t *testing.T) {
	system(t)
	garden := filepath.Join(t.TempDir(), "garden")
	cultivar(t.Context(), t, "sample", garden, "--per-class", "12").expect(t, 0)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	go func() { // leaves as soon as the run exists
		for ctx.Err() == nil {
			if o := cultivar(ctx, t, "runs", "--json"); strings.Contains(o.out, `"number":1`) {
				cancel(errors.New("ctrl+c"))
			}
		}
	}()
	o := cultivar(ctx, t, "train", garden, "--epochs", "5", "-o", t.TempDir())
	o.expect(t, 130, "The training goes on", "cultivar watch 1")
	o = cultivar(t.Context(), t, "watch", "1", "--json")
	o.expect(t, 0)
	checkEpochs(t, linesOf(t, o))
}
