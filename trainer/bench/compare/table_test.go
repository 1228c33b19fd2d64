package compare_test

import (
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/bench/compare"
)

func TestTable(t *testing.T) {
	elsewhere := row(leaves, 1, compare.Strong, 1, 0.1)
	elsewhere.Machine = "zz-another"
	older := row(leaves, 1, compare.Quick, 99, 0.1)
	older.Date, older.Version = "2025-01-01T00:00:00Z", "v0"
	got := compare.Table([]compare.Row{
		older, elsewhere,
		row(leaves, 1, compare.Quick, 10, 0.93), row(leaves, 2, compare.Quick, 12, 0.95),
		row(leaves, 1, compare.Probe, 20, 0.92), // seed 2 is not measured: compared with seed 1 alone
		row(leaves, 1, compare.Balanced, 30, 0.94),
		row(leaves, 1, compare.Best, 90, 0.96), busy(row(leaves, 2, compare.Best, 900, 0.98)),
		row(leaves, 1, compare.Strong, 100, 0.94), busy(row(leaves, 2, compare.Strong, 999, 0.96)),
		row(leaves, 1, compare.Tutorial, 160, 0.88),
		row(stones, 1, compare.Best, 210, 0.94),
		row(stones, 1, compare.Strong, 200, 0.935),
		row(stones, 1, compare.Balanced, 40, 0.93),
		busy(row(stones, 1, compare.Quick, 5, 0.94)), row(stones, 1, compare.Probe, 5, 0.93),
	})
	want := `### some-cpu-2core-8g

Measured with v0, v1.

| photos | system | test accuracy | seed: accuracy | seconds |
|---|---|---|---|---|
| leaves, 1000 in 5 classes | quick | 0.940 | 1: 0.930, 2: 0.950 | 11.0 |
|  | probe | 0.920 | 1: 0.920 | 20.0 |
|  | balanced | 0.940 | 1: 0.940 | 30.0 |
|  | best | 0.970 | 1: 0.960, 2: 0.980 | 90.0 |
|  | strong | 0.950 | 1: 0.940, 2: 0.960 | 100.0 |
|  | tutorial | 0.880 | 1: 0.880 | 160.0 |
| stones, 2000 in 8 classes | quick | 0.940 | 1: 0.940 | – |
|  | probe | 0.930 | 1: 0.930 | 5.0 |
|  | balanced | 0.930 | 1: 0.930 | 40.0 |
|  | best | 0.940 | 1: 0.940 | 210.0 |
|  | strong | 0.935 | 1: 0.935 | 200.0 |

| bar | leaves | stones |  |
|---|---|---|---|
| ` + "`quick`" + ` against probe: points of accuracy, at least as many | +1.0 (1 seed) | +1.0 (1 seed) | met |
| ` + "`quick`" + ` against probe: time, at most 0.6× | 0.50× | – | met on 1 of 2 sets |
| ` + "`balanced`" + ` against strong: points of accuracy, at least as many | +0.0 (1 seed) | -0.5 (1 seed) | not met on stones |
| ` + "`balanced`" + ` against strong: time, at most 0.25× | 0.30× | 0.20× | not met on leaves |
| ` + "`best`" + ` against strong: points of accuracy, at least 1 more on average | +2.0 (2 seeds) | +0.5 (1 seed) | met: +1.2 |
| ` + "`best`" + ` against strong: time, at most 1× | 0.90× | 1.05× | not met on stones |
| ` + "`balanced`" + ` against tutorial: points of accuracy, at least 5 more | +6.0 (1 seed) | – | met on 1 of 2 sets |
| ` + "`balanced`" + ` against tutorial: time, at most 0.2× | 0.19× | – | met on 1 of 2 sets |
`
	mine, other, found := strings.Cut(got, "\n### zz-another")
	if mine != want {
		t.Errorf("got\n%s\nwant\n%s", mine, want)
	}
	if !found || !strings.Contains(other, "strong | 0.100") || strings.Count(other, "not measured") != 8 {
		t.Errorf("the other machine's part is\n%s", other)
	}
	if compare.Table(nil) != "Nothing is measured yet.\n" {
		t.Error("no rows: no word about it")
	}
}

func TestReplace(t *testing.T) {
	const document = "# Title\n<!-- bench-trainer -->\nold\n<!-- /bench-trainer -->\nend\n"
	got, err := compare.Replace([]byte(document), "new\n")
	if want := strings.Replace(document, "old", "new", 1); err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for _, broken := range []string{"", "<!-- bench-trainer -->\n", "<!-- /bench-trainer -->\n<!-- bench-trainer -->\n"} {
		if _, err := compare.Replace([]byte(broken), "new\n"); err == nil {
			t.Errorf("%q was taken for a document with marks", broken)
		}
	}
}
