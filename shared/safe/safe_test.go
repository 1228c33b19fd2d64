package safe_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/cultivar-ml/cultivar/shared/safe"
)

func TestText(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"plain":             {"IMG_0001 (2).jpg", "IMG_0001 (2).jpg"},
		"letters":           {"Äpfel 林檎 🍎", "Äpfel 林檎 🍎"},
		"colour":            {"\x1b[31mred\x1b[0m", "␛[31mred␛[0m"},
		"window title":      {"\x1b]0;title\x07", "␛]0;title␇"},
		"lines":             {"a\r\nb\tc", "a␍␊b␉c"},
		"delete":            {"a\x7f", "a␡"},
		"c1":                {"a\u009b31m", "a‹U+009B›31m"},
		"right to left":     {"cat\u202egpj.exe", "cat‹U+202E›gpj.exe"},
		"isolate":           {"\u2066x\u2069", "‹U+2066›x‹U+2069›"},
		"zero width":        {"a\u200bb\ufeff", "a‹U+200B›b‹U+FEFF›"},
		"filler":            {"\u3164", "‹U+3164›"},
		"tag":               {"\U000E0041", "‹U+E0041›"},
		"separator":         {"a\u2028b", "a‹U+2028›b"},
		"not UTF-8":         {"a\xff\xfeb", "a‹0xFF›‹0xFE›b"},
		"replacement":       {"a\ufffdb", "a\ufffdb"},
		"an accent":         {"e\u0301", "e\u0301"},
		"a heap of accents": {"e" + strings.Repeat("\u0301", 9), "e" + strings.Repeat("\u0301", 8) + "‹U+0301›"},
		"empty":             {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fmt.Sprint(safe.Text(tc.in)); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestTexts(t *testing.T) {
	if got := safe.Texts([]string{"a\n", "b"}, ", ").String(); got != "a␊, b" {
		t.Errorf("got %q", got)
	}
}

func TestCut(t *testing.T) {
	for _, tc := range []struct {
		in         string
		n          int
		end, start string
	}{
		{"flowers", 7, "flowers", "flowers"},
		{"flowers", 5, "flow…", "…wers"},
		{"flowers", 1, "…", "…"},
		{"flowers", 0, "", ""},
		{"林檎林檎", 8, "林檎林檎", "林檎林檎"},
		{"林檎林檎", 6, "林檎…", "…林檎"},
		{"re\u0301sume\u0301", 4, "re\u0301s…", "…ume\u0301"},
	} {
		t.Run(fmt.Sprint(tc.in, tc.n), func(t *testing.T) {
			s := safe.Text(tc.in)
			if got := s.Cut(tc.n).String(); got != tc.end {
				t.Errorf("Cut: got %q, want %q", got, tc.end)
			}
			if got := s.CutStart(tc.n).String(); got != tc.start {
				t.Errorf("CutStart: got %q, want %q", got, tc.start)
			}
		})
	}
}

func FuzzText(f *testing.F) {
	f.Add("\x1b[31m\u202e\xff\u009b", 3)
	f.Fuzz(func(t *testing.T, in string, n int) {
		s := safe.Text(in)
		for _, out := range []safe.String{s, s.Cut(n % 100), s.CutStart(n % 100)} {
			if !utf8.ValidString(out.String()) {
				t.Fatalf("%q became %q, which is no UTF-8", in, out)
			}
			for _, r := range out.String() {
				if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
					t.Fatalf("%q became %q with %U", in, out, r)
				}
			}
		}
		if w := s.Cut(n % 100).Width(); w > max(n%100, 0) {
			t.Fatalf("%q cut to %d cells takes %d", in, n%100, w)
		}
		if w := s.CutStart(n % 100).Width(); w > max(n%100, 0) {
			t.Fatalf("%q cut at its start to %d cells takes %d", in, n%100, w)
		}
	})
}
