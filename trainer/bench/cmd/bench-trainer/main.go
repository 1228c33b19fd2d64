// Command bench-trainer measures the project's presets and their peers side by side: same base weights, photos, split and
// processors, one whole process after another. What was measured is a row in a file; cells that have one are not measured
// again, so a run that was cut goes on. It is started by make bench-trainer, at the root of the repository.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cultivar-ml/cultivar/shared/safe"
	"github.com/cultivar-ml/cultivar/shared/version"
	"github.com/cultivar-ml/cultivar/trainer/bench/compare"
	"github.com/cultivar-ml/cultivar/trainer/internal/machine"
)

// options are the command line.
type options struct {
	data, out, doc string
	bin, bases     string
	python, peers  string
	sets           []string
	seeds          []int64
	systems        []compare.System
	budget         time.Duration
	render, again  bool
	busy           bool
	epochs         int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		os.Exit(2)
	}
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench-trainer:", safe.Text(err.Error()))
		os.Exit(1)
	}
}

// parse reads the command line; what is wrong with it has been said when it returns an error.
func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("bench-trainer", flag.ContinueOnError)
	f.StringVar(&o.data, "data", filepath.Join("..", "shared", "data"), "folder of the sets of photos")
	f.StringVar(&o.out, "out", filepath.Join("docs", "bench"), "folder of the rows")
	f.StringVar(&o.doc, "doc", filepath.Join("docs", "bench.md"), "document to write the table into; empty: none")
	f.StringVar(&o.bin, "bin", "bin", "folder of the project's programs")
	f.StringVar(&o.bases, "bases", filepath.Join(".deps", "bases"), "folder of the base models")
	f.StringVar(&o.python, "python", filepath.Join(".deps", "bench-venv", "bin", "python"), "Python of the peers")
	f.StringVar(&o.peers, "peers", filepath.Join("trainer", "bench", "peers"), "folder of the peers' scripts")
	f.DurationVar(&o.budget, "budget", 80*time.Minute, "start nothing that is likely to end later than this")
	f.BoolVar(&o.render, "render", false, "only write the table")
	f.BoolVar(&o.again, "again", false, "measure cells that have a row once more; the newest row counts")
	f.BoolVar(&o.busy, "busy", false, "the machine does other work: only accuracies will count")
	f.IntVar(&o.epochs, "trial-epochs", 0, "try the harness: at most so many epochs a phase of the peers; never compared with measurements, give -out and -doc of their own")
	sets := f.String("sets", "trashnet,sign-digits,grocery-produce24", "sets to measure on")
	seeds := f.String("seeds", "1,2,3", "seeds to measure with")
	systems := f.String("systems", joined(compare.Systems()), "systems to measure")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	err := o.lists(*sets, *seeds, *systems)
	if err == nil && f.NArg() > 0 {
		err = fmt.Errorf("%q is not understood; see --help", f.Arg(0))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-trainer:", safe.Text(err.Error()))
	}
	return o, err
}

func (o *options) lists(sets, seeds, systems string) error {
	o.sets = strings.Split(sets, ",")
	for _, text := range strings.Split(seeds, ",") {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is no seed; give whole numbers, as 1,2,3", text)
		}
		o.seeds = append(o.seeds, n)
	}
	known := "," + joined(compare.Systems()) + ","
	for _, text := range strings.Split(systems, ",") {
		if text == "" || !strings.Contains(known, ","+text+",") {
			return fmt.Errorf("there is no system %q; the known ones are %s", text, joined(compare.Systems()))
		}
		o.systems = append(o.systems, compare.System(text))
	}
	return nil
}

func joined(systems []compare.System) string {
	text := make([]string, len(systems))
	for i, s := range systems {
		text[i] = string(s)
	}
	return strings.Join(text, ",")
}

// machine keeps rows of trials apart from those of measurements.
func (o options) machine() string {
	if o.epochs > 0 {
		return machine.ID() + "-trial"
	}
	return machine.ID()
}

func run(ctx context.Context, o options) error {
	if o.render {
		return render(o)
	}
	work, err := os.MkdirTemp("", "cvb")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	b := &bench{options: o, work: work}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	// The table is written also when some cells failed: the others are worth seeing.
	return errors.Join(b.measure(ctx), render(o))
}

// measure runs cell after cell while the budget lasts.
func (b *bench) measure(ctx context.Context) error {
	machine, end := b.machine(), time.Now().Add(b.budget)
	rows, err := compare.Read(b.out)
	if err != nil {
		return err
	}
	cells := compare.Cells(b.known, b.seeds, b.systems)
	if !b.again {
		cells = compare.Missing(cells, machine, rows)
	}
	fmt.Printf("%s: %d cells to measure, %s for them\n", machine, len(cells), b.budget)
	failed := 0
	for {
		c, rest, ok := compare.Next(cells, machine, rows, time.Until(end))
		if !ok {
			break
		}
		cells = rest
		fmt.Printf("%s, seed %d, %s: ", c.Set.Name, c.Seed, c.System)
		row, err := b.cell(ctx, c)
		if ctx.Err() != nil {
			fmt.Println("interrupted")
			return errors.New("interrupted; the same command goes on with the cells that are missing")
		}
		if err != nil {
			failed++
			fmt.Printf("failed: %s\n", safe.Text(err.Error()))
			continue
		}
		row.Machine = machine
		if err := compare.Append(b.out, row); err != nil {
			return err
		}
		rows = append(rows, row)
		fmt.Printf("%.1f s, test accuracy %.4f\n", row.Seconds, row.TestAccuracy)
	}
	if len(cells) > 0 {
		fmt.Printf("%d cells did not fit into the time; the same command goes on with them\n", len(cells))
	}
	if failed > 0 {
		return fmt.Errorf("%d cells failed; see above", failed)
	}
	return nil
}

// cell measures one cell.
func (b *bench) cell(ctx context.Context, c compare.Cell) (compare.Row, error) {
	dir, err := os.MkdirTemp(b.work, "cell")
	if err != nil {
		return compare.Row{}, err
	}
	defer os.RemoveAll(dir)
	s, err := b.splitFor(c)
	if err != nil {
		return compare.Row{}, err
	}
	r := compare.Row{Set: c.Set.Name, Seed: c.Seed, System: c.System, Images: c.Set.Images, Classes: c.Set.Classes,
		Version: version.String(), Busy: b.busy}
	if c.System.Own() {
		r.TestAccuracy, r.Seconds, err = b.own(ctx, c, s, dir)
	} else {
		r.TestAccuracy, r.Seconds, err = b.peer(ctx, c, s, dir)
	}
	r.Date = time.Now().UTC().Format(time.RFC3339)
	return r, err
}

// render writes the table into the document.
func render(o options) error {
	if o.doc == "" {
		return nil
	}
	rows, err := compare.Read(o.out)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(o.doc)
	if err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	text, err := compare.Replace(old, compare.Table(rows))
	if err != nil {
		return fmt.Errorf("write the table into %s: %w", o.doc, err)
	}
	if err := os.WriteFile(o.doc, text, 0o644); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}
