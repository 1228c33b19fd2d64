package report_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/cultivar-ml/cultivar/trainer/internal/report"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

// evil are names that break out of where they are put unless they are escaped for it.
func evil() []string {
	return []string{
		"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "</style><style>*{display:none}", "{{.Run}} ${x} `code`",
		"](javascript:alert(1)) [x](http://evil.example)", "# heading\n\n- list\n\n| a | b |\n", "---\nlicense: mit\n---", "\u202egnp.exe \u200b\x1b[2J\xff",
		"' onload='alert(1)", "<!-- comment --> &amp; &lt;", "**bold** _it_ ~~gone~~ <https://evil.example>", "\\", "`", "*", "$$x$$",
	}
}

// element is a tag with its attributes as a page has them.
type element struct {
	Name       string
	Attributes []string
}

// elements are those of a page, in order.
func elements(t *testing.T, page string) (all []element, words string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var b strings.Builder
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all, b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := element{Name: token.Name.Local}
			for _, a := range token.Attr {
				e.Attributes = append(e.Attributes, a.Name.Local)
			}
			all = append(all, e)
		case xml.CharData:
			b.Write(token)
		case xml.Comment:
			t.Errorf("a comment: %q", token)
		}
	}
}

// harmless are as many names.
func harmless(n int) []string {
	var names []string
	for i := range n {
		names = append(names, string(rune('a'+i)))
	}
	return names
}

func TestNamesAreTextOnThePage(t *testing.T) {
	page := text(t, report.Page, run(evil()...))
	got, words := elements(t, page)
	want, _ := elements(t, text(t, report.Page, run(harmless(len(evil()))...)))
	if !slices.EqualFunc(got, want, func(a, b element) bool { return a.Name == b.Name && slices.Equal(a.Attributes, b.Attributes) }) {
		t.Error("names change the structure of the page")
	}
	for _, r := range page {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			t.Errorf("the page has %U in it", r)
		}
	}
	for _, said := range []string{evil()[0], evil()[1], evil()[2], "‹U+202E›gnp.exe"} { // and they are there
		if !strings.Contains(words, said) {
			t.Errorf("%q is not on the page", said)
		}
	}
}

// The page asks nothing of the network, runs nothing, and names what it draws.
func TestPageIsSelfContained(t *testing.T) {
	r := run("daisy", "poppy", "tulip")
	r.Pictures = map[string]report.Picture{}
	mistakes, doubtful := report.Shown(r.Report)
	for _, m := range mistakes {
		r.Pictures[m.SHA256] = noise(t, 4, 3)
	}
	r.Pictures[doubtful[0].SHA256] = noise(t, 1, 1)
	page := text(t, report.Page, r)
	for _, bad := range []string{"<script", "http://", "https://", "url(", "@import", "<link", "<iframe", "ZgotmplZ"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q in it", bad)
		}
	}
	all, _ := elements(t, page)
	drawn := 0
	for _, e := range all {
		if e.Name == "svg" {
			drawn++
			if !slices.Contains(e.Attributes, "role") || !slices.Contains(e.Attributes, "aria-label") {
				t.Errorf("a drawing without a name: %v", e.Attributes)
			}
		}
	}
	if want := 2*len(mistakes) + 1 + 1 + 2; drawn != want { // photos, interval, charts
		t.Errorf("%d drawings, want %d", drawn, want)
	}
	if n := strings.Count(page, "data:image/jpeg"); n != len(mistakes)+1 {
		t.Errorf("%d photos are inside", n)
	}
}

// Python's readers of Markdown and YAML see the same structure whatever the names are, and the metadata as they were meant.
func TestNamesAreTextInMarkdown(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	for name, labels := range map[string][]string{"evil.md": evil(), "harmless.md": harmless(len(evil()))} {
		r := run(labels...)
		if name == "evil.md" {
			r.Warnings, r.Version, r.Base.Title = []string{evil()[5]}, evil()[0], evil()[4]
			r.Base.License, r.Base.Source = `a"b: c #d`, evil()[10]
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text(t, report.Card, r)), 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	var got []struct {
		Tokens []string       `json:"tokens"`
		Meta   map[string]any `json:"meta"`
		Words  string         `json:"words"`
	}
	if err := json.Unmarshal(tasktest.Python(t, filepath.Join("testdata", "markdown.py"), paths...), &got); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got[0].Tokens, got[1].Tokens) {
		t.Errorf("names change the structure of the card:\n%v\n%v", got[0].Tokens, got[1].Tokens)
	}
	if got[0].Meta["license"] != `a"b: c #d` || got[1].Meta["license"] != "apache-2.0" || got[1].Meta["library_name"] != "keras" ||
		got[1].Meta["pipeline_tag"] != "image-classification" {
		t.Errorf("metadata %v and %v", got[0].Meta, got[1].Meta)
	}
	result := got[1].Meta["model-index"].([]any)[0].(map[string]any)["results"].([]any)[0].(map[string]any)
	metric := result["metrics"].([]any)[0].(map[string]any)
	if metric["type"] != "accuracy" || metric["value"] != 0.875 || result["dataset"].(map[string]any)["split"] != "test" {
		t.Errorf("results %v", result)
	}
	for _, said := range []string{evil()[0], evil()[1], evil()[9], "**bold** _it_ ~~gone~~ <https://evil.example>", "[x](http://evil.example)"} {
		if !strings.Contains(got[0].Words, said) {
			t.Errorf("%q is not in the card: %s", said, got[0].Words)
		}
	}
}
