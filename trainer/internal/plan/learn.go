package plan

import (
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/features"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
)

// Note takes a measured rate: Try or Learn of a rates.Book.
type Note func(name string, value float64)

// What a measurement must have covered at least to tell a rate: on less, beginning and ending weigh too much.
const (
	leastRows    = 64
	leastBytes   = 128 << 10
	leastSeconds = 0.05
)

// LearnBeginning notes the seconds before the feature pass.
func LearnBeginning(note Note, seconds float64) { note(nPrepare, seconds) }

// LearnPass notes what a feature pass took that looked up so many bytes; cut is "" when it kept no activations.
func LearnPass(note Note, t features.Timing, bytes int64, cut string) {
	if bytes >= leastBytes {
		note(nFind, t.Find.Seconds()/float64(bytes))
	}
	if t.NetworkRows < leastRows {
		return
	}
	note(nPass, t.Startup.Seconds())
	// What the workers waited for each other, for files and for the disk goes to all alike.
	busy := t.Decode + t.Plain + t.Changed + t.Network
	scale := (t.Wall - t.Startup).Seconds() * float64(t.Workers) / busy.Seconds()
	if t.Bytes > 0 {
		note(nDecode, scale*t.Decode.Seconds()/float64(t.Bytes))
	}
	if t.PlainRows > 0 {
		note(nPlain, scale*t.Plain.Seconds()/float64(t.PlainRows))
	}
	if t.ChangedRows > 0 {
		note(nChanged, scale*t.Changed.Seconds()/float64(t.ChangedRows))
	}
	note(network(cut), scale*t.Network.Seconds()/float64(t.NetworkRows))
}

// LearnHead notes what training a head took, refitting included.
func LearnHead(note Note, kind string, work, seconds float64) {
	if seconds >= leastSeconds && work > 0 {
		note(named(nHead, kind), seconds/work)
	}
}

// LearnTuning notes what fine-tuning took: seconds until it could begin, and for so many images, see EpochWork.
func LearnTuning(note Note, cut string, graph, work, seconds float64) {
	if seconds >= leastSeconds && work >= leastRows {
		note(named(nGraph, cut), graph)
		note(named(nTune, cut), seconds/work)
	}
}

// LearnSample notes what preparing the check of files took, of a network as large as the base.
func LearnSample(note Note, seconds float64) { note(nSample, seconds) }

// LearnExport notes what a file took, and how large it is, likewise.
func LearnExport(note Note, format string, seconds float64, bytes int64) {
	note(named(nExport, format), seconds)
	note(named(nBytes, format), float64(bytes))
}

// Amount is how much a head has to learn from.
func (t Training) Amount(views int) fit.Amount {
	return t.amount(t.count(runspec.Recipe{Views: views}))
}
