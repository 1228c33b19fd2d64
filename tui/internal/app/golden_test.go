package app

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
)

// TestScreens compares every screen in every state with its golden picture, at the two sizes that matter.
func TestScreens(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {140, 45}} {
		for _, c := range screenCases {
			name := fmt.Sprintf("%s-%dx%d", c.name, size[0], size[1])
			t.Run(name, func(t *testing.T) {
				root := garden(t)
				o := rigOptions{w: size[0], h: size[1]}
				d := &double{report: reportJSON}
				if c.given != nil {
					c.given(&o, d, root)
				}
				if o.server == "double" {
					o.server = d.start(t)
				}
				r := newRig(t, o)
				c.act(r)
				r.golden(name)
			})
		}
	}
}

type screenCase struct {
	name  string
	given func(o *rigOptions, d *double, root string)
	act   func(r *rig)
}

func served(o *rigOptions, _ *double, root string) { o.server, o.folder = "double", root }

func withRuns(runs ...api.Run) func(*rigOptions, *double, string) {
	return func(o *rigOptions, d *double, _ string) { o.server, d.runs = "double", runs }
}

func live(state api.State, more func(d *double)) func(*rigOptions, *double, string) {
	return func(o *rigOptions, d *double, _ string) {
		o.server, d.runs = "double", []api.Run{trainingRun(state)}
		d.learning(7)
		if more != nil {
			more(d)
		}
	}
}

func done() api.Run {
	r := trainingRun(api.StateSucceeded)
	r.TestAccuracy = ptr(float32(0.9))
	return r
}

var screenCases = []screenCase{
	{"pick", nil, func(r *rig) { r.until("looks like a dataset", "no images") }},
	{"pick-error", nil, func(r *rig) {
		r.until("looks like a dataset", "no images")
		r.keys("/")
		r.send(tea.PasteMsg{Content: "'~/no such folder'"})
		r.keys("enter")
		r.until("there is no folder")
	}},
	{"data", served, func(r *rig) { r.until("Next: choose", "ready") }},
	{"data-files", served, func(r *rig) {
		r.until("Next: choose", "ready")
		r.keys("tab", "enter")
	}},
	{"data-no-classes", func(o *rigOptions, _ *double, root string) {
		o.server, o.folder = "double", filepath.Join(root, "daisy")
	},
		func(r *rig) { r.until("ready", "0 classes") }},
	{"train-loading", func(o *rigOptions, _ *double, _ string) { o.server = "" }, func(r *rig) { r.keys("2"); r.until("connecting") }},
	{"train-error", func(o *rigOptions, _ *double, _ string) { o.server = "down" }, func(r *rig) { r.keys("2"); r.until("no server") }},
	{"train", served, func(r *rig) {
		r.until("Next: choose", "ready")
		r.keys("n")
		r.until("EfficientNet-Lite0", "about 4.2s")
	}},
	{"train-own", served, func(r *rig) {
		r.until("Next: choose", "ready")
		r.keys("n")
		r.until("EfficientNet-Lite0")
		r.keys("down", "down", "down", "enter", "2", "enter")
		r.until("about 15s", "yours")
	}},
	{"train-measuring", func(o *rigOptions, d *double, root string) {
		served(o, d, root)
		d.plan = func(asked api.PlanCreate) []runspec.Plan {
			all := foretold(asked)
			for i := range all[0].Options {
				all[0].Options[i].Cost.Unknown = []string{"reading photos"}
			}
			all[0].Measuring = true
			return all
		}
	}, func(r *rig) {
		r.until("Next: choose", "ready")
		r.keys("n")
		r.until("EfficientNet-Lite0", "measuring the machine")
	}},
	{"train-refused", func(o *rigOptions, d *double, root string) {
		served(o, d, root)
		d.plan = func(asked api.PlanCreate) []runspec.Plan {
			all := foretold(asked)
			all[0].Options[0].Refused = "the image size 100 does not suit the base model mobilenet_v2; choose a multiple of 32, such as 96"
			return all
		}
	}, func(r *rig) {
		r.until("Next: choose", "ready")
		r.keys("n")
		r.until("EfficientNet-Lite0", "does not suit")
	}},
	{"train-invalid", served, func(r *rig) {
		r.until("Next: choose", "ready")
		r.keys("n")
		r.until("EfficientNet-Lite0", "about 4.2s")
		r.keys("a", "down", "down", "down", "down", "down", "enter", "9", "9", "9")
		r.until("but must lie")
	}},
	{"train-continue", func(o *rigOptions, d *double, root string) {
		served(o, d, root)
		d.runs = []api.Run{trainingRun(api.StateRunning), older(13, api.StateSucceeded), older(12, api.StateFailed), older(11, api.StateSucceeded)}
	}, func(r *rig) {
		r.until("Next: choose", "ready")
		r.keys("n")
		r.until("EfficientNet-Lite0", "about 4.2s")
		r.keys("a", "G", "up", "up")
		r.until("Left and right go")
		r.keys("right", "right", "left", "right")
		r.until("--start-from 11", "#11")
	}},
	{"runs-loading", nil, func(r *rig) { r.keys("3"); r.until("Asking the server") }},
	{"runs-empty", withRuns(), func(r *rig) { r.keys("3"); r.until("ready", "Nothing was trained yet") }},
	{"runs-error", func(o *rigOptions, d *double, _ string) { o.server = "double"; d.broken.Store(true) }, func(r *rig) { r.keys("3"); r.until("unavailable", "being repaired") }},
	{"runs", withRuns(trainingRun(api.StateRunning), older(13, api.StateSucceeded), older(12, api.StateFailed), older(11, api.StateCancelled), older(10, api.StateQueued)),
		func(r *rig) { r.keys("3"); r.until("ready", "cancelled") }},
	{"run-empty", nil, func(r *rig) { r.send(screen.Open{To: screen.Run}); r.until("No run is open") }},
	{"run-loading", func(o *rigOptions, d *double, root string) {
		live(api.StateStarting, func(d *double) { d.events = nil })(o, d, root)
	}, openRun("An epoch is one pass")},
	{"run", live(api.StateRunning, nil), openRun("epoch 7", "900 MB")},
	{"run-finished", live(api.StateRunning, func(d *double) {
		d.tell(runspec.TypeEvaluation, runspec.Evaluation{Split: "test", Images: 40, Accuracy: 0.9})
		d.tell(runspec.TypeArtifact, runspec.Artifact{Name: "model.h5", Bytes: 14_200_000})
		d.tell(runspec.TypeState, runspec.State{State: "succeeded", Attempt: 1})
	}), openRun("Finished")},
	{"run-failed", live(api.StateRunning, func(d *double) {
		d.tell(runspec.TypeState, runspec.State{State: "failed", Attempt: 1, Reason: "The disk of the server is full. Free some space and train again: what the base model saw is kept."})
	}), openRun("Failed: The disk")},
	{"run-cancel", live(api.StateRunning, nil), func(r *rig) { openRun("epoch 7", "900 MB")(r); r.keys("S"); r.until("Cancel the run") }},
	{"results-empty", withRuns(trainingRun(api.StateRunning)), func(r *rig) { r.until("ready"); r.keys("4"); r.until("No run is finished yet") }},
	{"results-error", func(o *rigOptions, d *double, _ string) { o.server = "double"; d.broken.Store(true) }, func(r *rig) { r.until("unavailable"); r.keys("4"); r.until("being repaired") }},
	{"results", withRuns(done()), openResults()},
	{"results-confusion", withRuns(done()), openResults("down", "enter")},
	{"results-mistakes", withRuns(done()), openResults("down", "enter", "enter")},
	{"results-labels", withRuns(done()), openResults("tab", "tab", "tab")},
	{"results-files", withRuns(done()), openResults("tab", "tab", "tab", "tab")},
	{"results-share-dialog", delivering(), func(r *rig) { openResults()(r); r.until("s makes a share link"); r.keys("s"); r.until("Mail it to") }},
	{"results-delivery-waiting", delivering(postponed()), openDelivered("next try 13:03")},
	{"results-delivery-sending", delivering(under(link(), api.DeliverySending), under(letter(), api.DeliveryWaiting)), openDelivered("sending")},
	{"results-delivered", delivering(link(), letter()), openDelivered("https://")},
	{"results-delivery-failed", delivering(under(link(), api.DeliveryFailed), letter(), link(), under(letter(), api.DeliveryFailed)), openDelivered("mailbox")},
	{"run-delivery-none", ended(), openRun("Finished", "cultivar download 14")},
	{"run-delivery-waiting", ended(link(), postponed()), openRun("Finished", "s share", "next try 13:03")},
	{"run-delivery-sending", ended(under(link(), api.DeliverySending)), openRun("Finished", "s share", "sending")},
	{"run-delivered", ended(link(), letter()), openRun("Finished", "s share", "https://")},
	{"run-delivery-failed", ended(under(letter(), api.DeliveryFailed)), openRun("Finished", "s share", "mailbox")},
	{"run-waiting", waiting, openRun("4 node(s) had untolerated taint")},
	{"runs-waiting", func(o *rigOptions, d *double, root string) {
		waiting(o, d, root)
		d.runs = append(d.runs, older(13, api.StateSucceeded))
	}, func(r *rig) { r.keys("3"); r.until("ready", "Waiting for a machine") }},
	{"train-extras", func(o *rigOptions, d *double, root string) {
		served(o, d, root)
		d.abilities = able
	}, func(r *rig) {
		r.until("Next: choose", "ready")
		r.keys("n")
		r.until("EfficientNet-Lite0", "Share link", "about 4.2s")
		r.keys("G", "enter", "up", "enter")
		r.send(tea.PasteMsg{Content: "me@example.org"})
		r.keys("enter", "up", "enter")
		r.until("--profile gpu --email me@example.org --share", "about 4.2s")
	}},
	{"actions", withRuns(done()), func(r *rig) {
		openResults()(r)
		r.keys("?", "d", "o", "w", "n")
		r.until("Download the file")
		r.m.list.query.Blur()
	}},
}

func older(n int, state api.State) api.Run {
	r := trainingRun(state)
	r.Id, r.Number, r.Created = fmt.Sprint("r", n), n, noon.AddDate(0, 0, n-14)
	if state == api.StateSucceeded {
		r.TestAccuracy = ptr(float32(0.93))
	}
	return r
}

func openRun(words ...string) func(*rig) {
	return func(r *rig) {
		r.until("ready")
		r.send(screen.OpenRun{Run: trainingRun(api.StateRunning)})
		r.until(words...)
	}
}

func openResults(keys ...string) func(*rig) {
	return func(r *rig) {
		r.until("ready")
		r.send(screen.OpenResults{Run: done()})
		r.until("36 of 40 photos")
		r.keys(keys...)
	}
}

// able is a server that can do everything.
var able = api.Abilities{Runner: api.RunnerKubernetes, Share: true, Mail: true, Profiles: []api.Profile{
	{Name: "cpu", Description: "4 cores, 8 GB, at most 2 hours"}, {Name: "gpu", Description: "1 GPU, 4 cores, 16 GB, at most 8 hours"},
}}

func delivering(all ...api.Delivery) func(*rigOptions, *double, string) {
	return func(o *rigOptions, d *double, _ string) {
		o.server, d.runs, d.abilities = "double", []api.Run{done()}, able
		d.delivers(all...)
	}
}

// ended is a finished run on the live screen.
func ended(all ...api.Delivery) func(*rigOptions, *double, string) {
	return func(o *rigOptions, d *double, root string) {
		live(api.StateRunning, func(d *double) { d.tell(runspec.TypeState, runspec.State{State: "succeeded", Attempt: 1}) })(o, d, root)
		d.runs = []api.Run{done()}
		if len(all) > 0 {
			d.abilities = able
		}
		d.delivers(all...)
	}
}

func link() api.Delivery {
	return api.Delivery{Id: "l", Kind: api.DeliveryLink, State: api.DeliveryDelivered, Target: ptr("model.h5"), Expires: ptr(noon.AddDate(0, 1, 0)),
		Url: ptr("https://www.dropbox.com/scl/fi/3kq9v2m8x1c7b5n4z6l0p/flowers-14-efficientnet-lite0.h5?rlkey=a1b2c3d4e5f6g7h8i9j0k1l2m&dl=1")}
}

func letter() api.Delivery {
	return api.Delivery{Id: "m", Kind: api.DeliveryEmail, State: api.DeliveryDelivered, Target: ptr("me@example.org")}
}

func under(d api.Delivery, state api.DeliveryState) api.Delivery {
	d.State, d.Url, d.Expires = state, nil, nil
	if state == api.DeliveryFailed {
		d.Attempts, d.Reason = 8, ptr("The mail server refused it for good: 550 5.1.1 there is no such mailbox here. Check the address.")
		if d.Kind == api.DeliveryLink {
			d.Reason = ptr("Dropbox refused the file: it has no room left.")
		}
	}
	return d
}

func postponed() api.Delivery {
	d := under(letter(), api.DeliveryWaiting)
	d.Attempts, d.Next, d.Reason = 2, ptr(noon.Add(63*time.Minute)), ptr("The mail server does not answer: connection refused.")
	return d
}

// waiting is a run that has no machine yet, for a reason that has changed meanwhile.
func waiting(o *rigOptions, d *double, _ string) {
	r := trainingRun(api.StateStarting)
	r.Epoch, r.ValAccuracy = nil, nil
	r.Reason = ptr("Waiting for a machine: 0/1 nodes are available: 1 Insufficient cpu.")
	o.server, d.runs = "double", []api.Run{r}
	d.tell(runspec.TypeState, runspec.State{State: "starting", Attempt: 1, Reason: *r.Reason})
	d.tell(runspec.TypeState, runspec.State{State: "starting", Attempt: 1, Reason: "Waiting for a machine: 0/5 nodes are available: 1 Insufficient cpu, 4 node(s) had untolerated taint {nvidia.com/gpu: present}. No preemption victims were found for the incoming pod."})
}

func openDelivered(word string) func(*rig) {
	return func(r *rig) { openResults()(r); r.until(word, "s share") }
}
