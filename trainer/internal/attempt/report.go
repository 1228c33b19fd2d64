package attempt

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/bases"
	"github.com/cultivar-ml/cultivar/trainer/internal/cam"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/journal"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/report"
)

// report writes what is taken home beside the models.
func (a *Attempt) report(t *training, model network.Model) error {
	catalog, err := bases.Open(a.spec.Paths.Bases)
	if err != nil {
		return err
	}
	base, err := catalog.Entry(t.recipe.Base)
	if err != nil {
		return err
	}
	r := report.Run{Task: a.spec.Task, Version: a.version, Ended: time.Now(), Report: t.evaluation, BestEpoch: a.result.BestEpoch,
		Tuned: t.tuned != nil, Asked: a.spec.Recipe, Used: t.recipe, Dataset: t.described(a.spec.Dataset), Base: base}
	if a.spec.Attempt == 1 {
		r.Took = time.Since(a.started)
	}
	for _, file := range a.artifacts {
		if file.Agreement != nil {
			r.Models = append(r.Models, file)
		}
	}
	if err := a.recall(&r); err != nil {
		return err
	}
	if r.Pictures, err = a.pictures(t, model); err != nil { // the model is worth more than what shows it
		a.journal.Log("warning", fmt.Sprintf("The report shows no photos: %v.", err))
	}
	for _, file := range []struct {
		name, format string
		write        func(io.Writer, report.Run) error
	}{
		{runspec.ReportFile, runspec.FormatReport, report.Page},
		{runspec.CardFile, runspec.FormatCard, report.Card},
		{runspec.UsageFile, runspec.FormatUsage, report.Usage},
	} {
		if err := a.keep(file.name, file.format, func(w io.Writer) error { return file.write(w, r) }); err != nil {
			return err
		}
	}
	return nil
}

// described counts what the run was trained and measured on.
func (t *training) described(given runspec.Dataset) report.Dataset {
	d := report.Dataset{Digest: given.Digest, Classes: make([]report.Class, len(t.labels)), Excluded: len(given.Exclude),
		Relabelled: len(given.Relabel), Formats: map[manifest.Format]int{}}
	for i, label := range t.labels {
		d.Classes[i].Name = label
	}
	var widths, heights []int
	for row, w := range t.wants {
		if w.View != 0 || !t.set.Has(row) {
			continue
		}
		class := &d.Classes[t.items[w.Item].Class]
		switch t.sides[w.Item] {
		case manifest.Train:
			class.Train++
		case manifest.Validation:
			class.Valid++
		case manifest.Test:
			class.Test++
		}
		image := t.images[w.Item]
		d.Formats[image.Format]++
		widths, heights = append(widths, image.Width), append(heights, image.Height)
	}
	slices.Sort(widths)
	slices.Sort(heights)
	if n := len(widths); n > 0 {
		d.Sizes = [2]int{widths[n/2], heights[n/2]}
	}
	return d
}

// recall fills in what the records tell. Epochs of earlier attempts are in those attempts' spools; of one that was done again
// the later attempt's counts.
func (a *Attempt) recall(r *report.Run) error {
	spools := []string{a.path(runspec.RecordsFile)}
	for n := a.spec.Attempt - 1; n > 0; n-- {
		dir := filepath.Join(filepath.Dir(a.spec.Paths.Attempt), strconv.Itoa(n))
		executors, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look for earlier records: %w", err)
		}
		for _, e := range executors {
			if e.IsDir() { // beside the log of what started them
				spools = append(spools, filepath.Join(dir, e.Name(), runspec.RecordsFile))
			}
		}
	}
	type key struct {
		phase string
		epoch int
	}
	epochs := map[key]runspec.Epoch{}
	for i, spool := range spools {
		records, err := journal.Read(spool, runspec.TypeEpoch, runspec.TypeProblem, runspec.TypeLog)
		if err != nil {
			return err
		}
		for _, record := range records {
			switch body := record.Body.(type) {
			case runspec.Epoch:
				if _, known := epochs[key{body.Phase, body.Epoch}]; !known {
					epochs[key{body.Phase, body.Epoch}] = body
				}
			case runspec.Problem:
				if i == 0 { // each attempt finds them again
					r.Problems = append(r.Problems, body)
				}
			case runspec.Log:
				if i == 0 && body.Level == "warning" {
					r.Warnings = append(r.Warnings, body.Text)
				}
			}
		}
	}
	r.Epochs = slices.SortedFunc(maps.Values(epochs), func(a, b runspec.Epoch) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), -cmp.Compare(a.Phase, b.Phase)) // head before finetune
	})
	slices.SortFunc(r.Problems, func(a, b runspec.Problem) int { return cmp.Compare(a.Path, b.Path) })
	return nil
}

// pictured is a photo of the report: how it is shown, and as the network takes it when its map is wanted.
type pictured struct {
	item          data.Item
	class         int // that it was taken for; −1: no map is wanted
	thumb, image  []float32
	width, height int
}

// pictures are those of the photos that the report shows, by hash. One that can no longer be read is left out.
func (a *Attempt) pictures(t *training, model network.Model) (map[string]report.Picture, error) {
	photos, err := a.prepared(t)
	if err != nil {
		return nil, err
	}
	maps, err := activations(model, photos)
	if err != nil {
		return nil, err
	}
	out := make(map[string]report.Picture, len(photos))
	for i, p := range photos {
		if p.thumb == nil {
			continue
		}
		picture, err := report.NewPicture(p.thumb, p.width, p.height, maps[i])
		if err != nil {
			return nil, err
		}
		out[p.item.Hash.String()] = picture
	}
	return out, nil
}

// prepared lists the photos of the report, decoded by all cores.
func (a *Attempt) prepared(t *training) ([]*pictured, error) {
	wanted := map[string]int{}
	mistakes, doubtful := report.Shown(t.evaluation)
	for _, m := range doubtful {
		wanted[m.SHA256] = -1
	}
	for _, m := range mistakes {
		wanted[m.SHA256] = slices.Index(t.labels, m.Predicted)
	}
	var photos []*pictured
	for _, item := range t.items {
		hash := item.Hash.String()
		if class, ok := wanted[hash]; ok {
			photos = append(photos, &pictured{item: item, class: class})
			delete(wanted, hash) // equal files look alike
		}
	}
	var huge sync.Mutex
	var wait sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), len(photos))
	failed := make([]error, workers)
	for w := range workers {
		wait.Go(func() {
			decoder, err := data.NewDecoder(&huge)
			if err != nil {
				failed[w] = err
				return
			}
			defer decoder.Close()
			for i := w; i < len(photos); i += workers {
				photos[i].prepare(decoder, a.spec.Paths.Packs, t.base.Size, t.key.Fit)
			}
		})
	}
	wait.Wait()
	return photos, errors.Join(failed...)
}

// prepare decodes the photo; thumb stays nil if that is not possible.
func (p *pictured) prepare(decoder *data.Decoder, packs string, size int, fit data.Fit) {
	file, err := p.item.Read(packs)
	if err != nil {
		return
	}
	pixels, err := decoder.Decode(file, data.Need(0, size))
	if err != nil {
		return
	}
	render := func(size int) []float32 {
		renderer := data.Renderer{Size: size, Fit: fit}
		out := make([]float32, renderer.Values())
		renderer.Render(out, pixels, data.Plain())
		return out
	}
	p.thumb, p.width, p.height = render(report.Thumb), pixels.Width, pixels.Height
	if fit == data.Crop {
		p.width, p.height = 1, 1
	}
	if p.class >= 0 {
		p.image = render(size)
	}
}

// activations are the maps of the photos that have an image, in the photos' order; the others' are empty.
func activations(model network.Model, photos []*pictured) ([]cam.Map, error) {
	var images []float32
	var classes, at []int
	for i, p := range photos {
		if p.image != nil {
			images, classes, at = append(images, p.image...), append(classes, p.class), append(at, i)
		}
	}
	all := make([]cam.Map, len(photos))
	if len(at) == 0 {
		return all, nil
	}
	mapper, err := cam.New(model)
	if err != nil {
		return nil, err
	}
	defer mapper.Close()
	maps, err := mapper.Of(images, classes)
	for i, m := range maps {
		all[at[i]] = m
	}
	return all, err
}
