package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// TestServerKilled kills the server in the middle of a training: the run ends well, and who watches from the start sees
// every epoch once.
func TestServerKilled(t *testing.T) {
	h := newHost(t)
	photos := h.photos("sign-digits")
	stdout, stderr, code := h.run("train", photos, "--base", "efficientnet_lite0", "--epochs", "300", "--patience", "300", "--detach", "--json")
	if code != 0 {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	watch := h.command(t.Context(), "watch", "latest", "--json")
	pipe, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	killed := 0
	var seen []int
	lines := bufio.NewScanner(pipe)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		switch b := e.Record.Body.(type) {
		case runspec.Progress:
			if killed == 0 && b.Phase == runspec.PhaseFeatures && b.Done > 100 {
				h.killServer()
				killed++
			}
		case runspec.Epoch:
			seen = append(seen, b.Epoch)
			if killed == 1 && b.Epoch == 3 {
				h.killServer()
				killed++
			}
		}
	}
	if err := watch.Wait(); err != nil {
		t.Fatalf("watch: %v\n%s", err, h.serverLog())
	}
	if killed == 0 {
		t.Fatal("the training was over before the server could be killed")
	}
	t.Logf("server killed %d times, %d epochs", killed, len(seen))
	once(t, seen)

	var replayed []int
	for _, b := range bodies[runspec.Epoch](h.events("watch", "latest")) {
		replayed = append(replayed, b.Epoch)
	}
	if !slices.Equal(seen, replayed) {
		t.Errorf("live epochs %v, replayed %v", seen, replayed)
	}
}

// once checks that epochs count 1, 2, 3, … .
func once(t *testing.T, epochs []int) {
	t.Helper()
	if len(epochs) == 0 {
		t.Error("no epoch was seen")
	}
	for i, e := range epochs {
		if e != i+1 {
			t.Fatalf("epochs are %v", epochs)
		}
	}
}

// TestOddPhotos trains on 18 encodings: each bad file gets a sentence and the rest trains.
func TestOddPhotos(t *testing.T) {
	h := newHost(t)
	photos := h.photos("odd-formats")
	mixed := filepath.Join(h.data, "mixed")
	if err := os.CopyFS(mixed, os.DirFS(photos)); err != nil {
		t.Fatal(err)
	}
	hostile := "gl\x1b[2Jass"
	if err := os.Rename(filepath.Join(mixed, "glass"), filepath.Join(mixed, hostile)); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(firstOf(t, filepath.Join(mixed, "paper", "*jpeg_gray.jpg")))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"paper/text.jpg": "this is no photo", "paper/cut.jpg": string(whole[:len(whole)/2]), "paper/empty.png": "",
		"paper/.DS_Store": "x", ".DS_Store": "x", "stray.txt": "x",
	} {
		if err := os.WriteFile(filepath.Join(mixed, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	report, _, code := h.run("check", mixed)
	if code != 0 {
		t.Fatalf("check: exit code %d", code)
	}
	for _, want := range []string{"text.jpg", "cut.jpg", "empty.png", "TIFF", ".DS_Store"} {
		if !strings.Contains(report, want) {
			t.Errorf("check does not name %s:\n%s", want, report)
		}
	}
	all := h.events("train", mixed, "--base", "efficientnet_lite0", "--preset", "quick", "--wait")
	r := result(t, all)
	scan := all[slices.IndexFunc(all, func(e event) bool { return e.Event == "scan" })]
	if scan.Images != 306 { // 324 less 18 TIFF
		t.Errorf("%d images were found good, want 306", scan.Images)
	}
	if skipped := bodies[runspec.Problem](all); len(skipped) > 0 {
		t.Errorf("the trainer left out what the scan found good: %+v", skipped)
	}
	out, stderr, code := h.run("results", strconv.Itoa(r.Number))
	if code != 0 || strings.Contains(out+stderr+report, hostile) {
		t.Errorf("results (exit code %d) or check print a raw escape sequence", code)
	}
}

func firstOf(t *testing.T, pattern string) string {
	t.Helper()
	all, err := filepath.Glob(pattern)
	if err != nil || len(all) == 0 {
		t.Fatalf("no file is like %s (%v)", pattern, err)
	}
	return all[0]
}

// TestNoDataset says what is wrong with folders that are no dataset.
func TestNoDataset(t *testing.T) {
	h := newHost(t)
	photo, err := os.ReadFile(firstOf(t, filepath.Join(h.photos("trashnet"), "paper", "*.jpg")))
	if err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	one := t.TempDir()
	flat := t.TempDir()
	if err := os.Mkdir(filepath.Join(one, "paper"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(one, "paper", "a.jpg"), filepath.Join(flat, "a.jpg")} {
		if err := os.WriteFile(path, photo, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct{ name, folder, want string }{
		{"nothing in it", empty, "folder"},
		{"photos without class folders", flat, "folder"},
		{"one class", one, "class"},
		{"not there", filepath.Join(empty, "nowhere"), "nowhere"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, stderr, code := h.run("train", c.folder)
			if code == 0 || !strings.Contains(stderr, c.want) {
				t.Errorf("exit code %d, says %q", code, stderr)
			}
			t.Log(strings.TrimSpace(stderr))
		})
	}
}
