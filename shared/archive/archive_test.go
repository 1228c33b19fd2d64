package archive_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/archive"
	"github.com/cultivar-ml/cultivar/shared/manifest"
)

// png is an image of 1×1 pixels: small, and whole.
const png = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU\x00\x00\x00\nIDATx\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"

// entry is one file of an archive that a test makes.
type entry struct {
	name    string
	content string
	change  func(*zip.FileHeader)
}

func made(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		if e.change != nil {
			e.change(h)
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil && !strings.HasSuffix(e.name, "/") {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(b []byte) (*archive.Archive, error) { return archive.Open(bytes.NewReader(b), int64(len(b))) }

// scanned is what a scan makes of an archive.
func scanned(t *testing.T, b []byte) (*archive.Archive, *manifest.Manifest) {
	t.Helper()
	a, err := open(b)
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.ScanTree(t.Context(), a, "photos", manifest.ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return a, m
}

func paths(m *manifest.Manifest) []string {
	var out []string
	for _, im := range m.Images {
		out = append(out, string(im.Split)+":"+im.Path)
	}
	return out
}

// photo is an image that no other has the bytes of.
func photo(i byte) string { return png + string([]byte{i}) }

func TestScan(t *testing.T) {
	link := func(h *zip.FileHeader) { h.SetMode(fs.ModeSymlink | 0o777) }
	device := func(h *zip.FileHeader) { h.SetMode(fs.ModeDevice | 0o600) }
	stored := func(h *zip.FileHeader) { h.Method = zip.Store }
	for name, c := range map[string]struct {
		entries []entry
		want    []string
		skipped map[manifest.Reason]int
		told    []manifest.Reason // problems of the archive itself
	}{
		"class folders":          {entries: []entry{{name: "a/"}, {name: "a/1.png", content: photo(1)}, {name: "b/1.png", content: photo(2), change: stored}}, want: []string{":a/1.png", ":b/1.png"}},
		"folders not listed":     {entries: []entry{{name: "a/x/y/1.png", content: photo(1)}, {name: "b/1.png", content: photo(2)}}, want: []string{":a/x/y/1.png", ":b/1.png"}},
		"one folder around":      {entries: []entry{{name: "top/a/1.png", content: photo(1)}, {name: "top/b/1.png", content: photo(2)}}, want: []string{":a/1.png", ":b/1.png"}},
		"split folders":          {entries: []entry{{name: "train/a/1.png", content: photo(1)}, {name: "train/b/1.png", content: photo(2)}, {name: "test/a/2.png", content: photo(3)}}, want: []string{"train:train/a/1.png", "train:train/b/1.png", "test:test/a/2.png"}},
		"dots before":            {entries: []entry{{name: "./"}, {name: "./a/1.png", content: photo(1)}, {name: "./b/1.png", content: photo(2)}}, want: []string{":a/1.png", ":b/1.png"}},
		"what macOS adds":        {entries: []entry{{name: "a/1.png", content: photo(1)}, {name: "b/1.png", content: photo(2)}, {name: "__MACOSX/a/._1.png", content: "x"}, {name: "a/.DS_Store", content: "x"}}, want: []string{":a/1.png", ":b/1.png"}, skipped: map[manifest.Reason]int{manifest.Hidden: 2}},
		"backslashes":            {entries: []entry{{name: `a\1.png`, content: photo(1)}, {name: `b\1.png`, content: photo(2)}}, want: []string{":a/1.png", ":b/1.png"}},
		"links and devices":      {entries: []entry{{name: "a/1.png", content: photo(1)}, {name: "b/1.png", content: photo(2)}, {name: "a/passwd", content: "/etc/passwd", change: link}, {name: "a/null", change: device}}, want: []string{":a/1.png", ":b/1.png"}, skipped: map[manifest.Reason]int{manifest.Link: 2}},
		"a link as a folder":     {entries: []entry{{name: "a/1.png", content: photo(1)}, {name: "b/1.png", content: photo(2)}, {name: "c", content: "/etc", change: link}, {name: "c/1.png", content: photo(3)}}, want: []string{":a/1.png", ":b/1.png"}, skipped: map[manifest.Reason]int{manifest.Link: 1}, told: []manifest.Reason{manifest.BadName}},
		"paths that lead out":    {entries: []entry{{name: "a/1.png", content: photo(1)}, {name: "b/1.png", content: photo(2)}, {name: "../../x/1.png", content: photo(3)}, {name: "/etc/1.png", content: photo(4)}, {name: "a/../../1.png", content: photo(5)}}, want: []string{":a/1.png", ":b/1.png"}, told: []manifest.Reason{manifest.BadName, manifest.BadName, manifest.BadName}},
		"too deep":               {entries: []entry{{name: "a/1.png", content: photo(1)}, {name: "b/1.png", content: photo(2)}, {name: strings.Repeat("x/", 32_000) + "1.png", content: photo(3)}}, want: []string{":a/1.png", ":b/1.png"}, told: []manifest.Reason{manifest.BadName}},
		"the same name twice":    {entries: []entry{{name: "a/1.png", content: photo(1)}, {name: "a/1.png", content: photo(3)}, {name: "b/1.png", content: photo(2)}}, want: []string{":a/1.png", ":b/1.png"}, told: []manifest.Reason{manifest.BadName}},
		"an archive in it":       {entries: []entry{{name: "a/1.png", content: photo(1)}, {name: "b/1.png", content: photo(2)}, {name: "a/more.zip", content: "PK\x03\x04"}}, want: []string{":a/1.png", ":b/1.png"}, skipped: map[manifest.Reason]int{manifest.NotAnImage: 1}},
		"code page 437":          {entries: []entry{{name: "B\x84ume/1.png", content: photo(1), change: func(h *zip.FileHeader) { h.NonUTF8 = true }}, {name: "b/1.png", content: photo(2)}}, want: []string{":Bäume/1.png", ":b/1.png"}},
		"UTF-8 without the flag": {entries: []entry{{name: "Bäume/1.png", content: photo(1), change: func(h *zip.FileHeader) { h.NonUTF8 = true }}, {name: "b/1.png", content: photo(2)}}, want: []string{":Bäume/1.png", ":b/1.png"}},
		"decomposed":             {entries: []entry{{name: "Ba\u0308ume/1.png", content: photo(1)}, {name: "b/1.png", content: photo(2)}}, want: []string{":Bäume/1.png", ":b/1.png"}},
		"names of Windows":       {entries: []entry{{name: "CON/NUL.png", content: photo(1)}, {name: "a:b/1 .png ", content: photo(2)}}, want: []string{":CON/NUL.png", ":a:b/1 .png "}},
		"blown up":               {entries: []entry{{name: "a/1.png", content: photo(1)}, {name: "b/1.png", content: photo(2)}, {name: "a/0.bmp", content: strings.Repeat("\x00", 4<<20)}}, want: []string{":a/1.png", ":b/1.png"}, skipped: map[manifest.Reason]int{manifest.Unreadable: 1}},
		"too large":              {entries: []entry{{name: "a/1.png", content: photo(1)}, {name: "b/1.png", content: photo(2)}, {name: "a/0.bmp", content: strings.Repeat("\x00", manifest.MaxFileBytes+1)}}, want: []string{":a/1.png", ":b/1.png"}, skipped: map[manifest.Reason]int{manifest.TooLarge: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			a, m := scanned(t, made(t, c.entries...))
			if got := paths(m); !slices.Equal(sorted(got), sorted(c.want)) {
				t.Errorf("images %q, want %q; problems %+v", got, c.want, m.Problems)
			}
			for reason, n := range c.skipped {
				if m.Skipped[reason] != n {
					t.Errorf("%d were left out as %s, want %d", m.Skipped[reason], reason, n)
				}
			}
			var told []manifest.Reason
			for _, p := range a.Problems() {
				told = append(told, p.Reason)
			}
			if !slices.Equal(told, c.told) {
				t.Errorf("problems %+v", a.Problems())
			}
		})
	}
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}

// Whatever the archive says of a file's size and checksum, the file is left out when it is not so.
func TestLiesAboutAFile(t *testing.T) {
	whole := made(t, entry{name: "a/1.png", content: photo(1), change: func(h *zip.FileHeader) { h.Method = zip.Store }}, entry{name: "b/1.png", content: photo(2)})
	at := bytes.Index(whole, []byte("PK\x01\x02"))
	for name, change := range map[string]func([]byte){
		"checksum": func(b []byte) { b[at+16] ^= 1 },
		"content":  func(b []byte) { b[bytes.Index(b, []byte("IHDR"))+20] ^= 1 },
		"larger":   func(b []byte) { b[at+24]++ },
		"smaller":  func(b []byte) { b[at+24]-- },
	} {
		t.Run(name, func(t *testing.T) {
			b := slices.Clone(whole)
			change(b)
			_, m := scanned(t, b)
			if got := paths(m); !slices.Equal(got, []string{":b/1.png"}) || m.Skipped[manifest.Unreadable] != 1 {
				t.Errorf("images %q, left out %v", got, m.Skipped)
			}
		})
	}
}

// What strangers do a million times is told a thousand times.
func TestProblemsAreBounded(t *testing.T) {
	var entries []entry
	for range 2_000 {
		entries = append(entries, entry{name: "../1.png"})
	}
	a, err := open(made(t, entries...))
	if err != nil {
		t.Fatal(err)
	}
	problems := a.Problems()
	if last := problems[len(problems)-1].Text; len(problems) != 1_001 || !strings.Contains(last, "1000 more") {
		t.Errorf("%d problems, the last is %q", len(problems), last)
	}
}

func TestReaderGivesTheBytes(t *testing.T) {
	a, _ := scanned(t, made(t, entry{name: "a/1.png", content: photo(1)}, entry{name: "b/1.png", content: photo(2)}))
	r, err := a.Reader("a/1.png")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil || b.String() != photo(1) {
		t.Errorf("%q, %v", b.String(), err)
	}
	if _, err := a.Reader("a/2.png"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
