package app

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/exp/teatest/v2"
	"github.com/charmbracelet/x/vt"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
)

// terminal is a real program with a virtual terminal behind it.
type terminal struct {
	t  *testing.T
	tm *teatest.TestModel
	e  *vt.Emulator
}

func newTerminal(t *testing.T, m *Model) *terminal {
	e := vt.NewEmulator(100, 30)
	// The emulator's answers to questions. It is not closed, since its Close and Read may not run at once: the reader ends
	// with the test's process.
	go func() { _, _ = io.Copy(io.Discard, e) }()
	return &terminal{t: t, tm: teatest.NewTestModel(t, m, teatest.WithInitialTermSize(100, 30)), e: e}
}

// sees waits until the terminal shows the words.
func (x *terminal) sees(words string) {
	x.t.Helper()
	for range 400 {
		b, err := io.ReadAll(x.tm.Output())
		if err != nil {
			x.t.Fatal(err)
		}
		// Without a tty the program counts on a line feed returning the carriage, as a cooked terminal does.
		_, _ = x.e.Write(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")))
		if strings.Contains(x.e.String(), words) {
			return
		}
		time.Sleep(25 * time.Millisecond) // polling a program that runs by itself
	}
	x.t.Fatalf("%q never showed:\n%s", words, x.e.String())
}

// TestFromFolderToModelFile walks the whole way by keys, against the real client: pick a folder, look at it, start,
// follow to the end, see the results, download the model.
func TestFromFolderToModelFile(t *testing.T) {
	garden(t)
	d := &double{report: reportJSON, runs: []api.Run{done()}}
	d.learning(7)
	d.tell(runspec.TypeState, runspec.State{State: "succeeded", Attempt: 1})
	server := d.start(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	m, err := New(ctx, Options{NoColor: true, Connect: func(context.Context) (*client.Client, error) {
		return client.New(client.Options{Server: server})
	}})
	if err != nil {
		t.Fatal(err)
	}
	x := newTerminal(t, m)
	x.sees("looks like a dataset")
	x.tm.Type("jj")
	x.tm.Send(tea.KeyPressMsg{Code: tea.KeyEnter})
	x.sees("Next: choose")
	x.tm.Type("n")
	x.sees("starts training")
	x.sees("EfficientNet-Lite0")
	x.tm.Type("n")
	x.sees("Finished")
	x.tm.Type("n")
	x.sees("36 of 40 photos")
	x.tm.Type("d")
	x.sees("saved")
	x.tm.Type("q")
	x.tm.WaitFinished(t, teatest.WithFinalTimeout(10*time.Second))
	if b, err := os.ReadFile("flowers.h5"); err != nil || string(b) != modelFile {
		t.Errorf("flowers.h5 holds %q, %v", b, err)
	}
	if got := m.leaving(); got != "" {
		t.Errorf("nothing trains any more, but it says %q", got)
	}
}

// TestCancelAsksAndGoesBackByDefault: enter in the dialog cancels nothing; only choosing the verb does.
func TestCancelAsksAndGoesBackByDefault(t *testing.T) {
	d := &double{runs: []api.Run{trainingRun(api.StateRunning)}}
	d.learning(3)
	garden(t)
	r := newRig(t, rigOptions{server: d.start(t), w: 100, h: 30})
	openRun("epoch 3")(r)
	r.keys("S")
	r.until("Cancel the run")
	r.keys("enter")
	if r.m.dialog != nil || len(d.posts) != 0 {
		t.Fatal("enter must go back and send nothing")
	}
	r.keys("S")
	r.until("Cancel the run")
	r.keys("tab", "enter")
	select {
	case path := <-d.posts:
		if path != "/api/v1/runs/r14/cancel" {
			t.Errorf("sent %s", path)
		}
	case <-time.After(10 * time.Second):
		t.Error("the run was not cancelled")
	}
}

// TestLeavingSaysThatTrainingGoesOn: the sentence after quitting names the run and how to see it again.
func TestLeavingSaysThatTrainingGoesOn(t *testing.T) {
	d := &double{runs: []api.Run{trainingRun(api.StateRunning)}}
	d.learning(3)
	garden(t)
	r := newRig(t, rigOptions{server: d.start(t), w: 100, h: 30})
	openRun("epoch 3")(r)
	if got := r.m.leaving(); !strings.Contains(got, "goes on") || !strings.Contains(got, "cultivar watch 14") {
		t.Errorf("it says %q", got)
	}
}

// TestHiddenRunKeepsListening: events reach the live screen while another one is shown.
func TestHiddenRunKeepsListening(t *testing.T) {
	d := &double{runs: []api.Run{trainingRun(api.StateRunning)}}
	d.learning(3)
	garden(t)
	r := newRig(t, rigOptions{server: d.start(t), w: 100, h: 30})
	r.until("ready", "looks like a dataset")
	r.send(screen.OpenRun{Run: d.runs[0]})
	r.keys("1")
	for range 200 {
		if st := r.m.screens[screen.Run].Status(); strings.Contains(st.Text, "training") {
			break
		}
		select {
		case msg := <-r.msgs:
			r.send(msg)
		case <-time.After(10 * time.Second):
			t.Fatal("nothing came")
		}
	}
	r.send(screen.Open{To: screen.Run})
	r.until("epoch 3")
}

// TestLeftOutFilesAreNotSent: x leaves the files of a problem out of what training gets, and takes them back.
func TestLeftOutFilesAreNotSent(t *testing.T) {
	root := garden(t)
	d := &double{runs: []api.Run{trainingRun(api.StateRunning)}}
	r := newRig(t, rigOptions{server: d.start(t), folder: root, w: 100, h: 30})
	r.until("Next: choose", "ready", "26 images")
	r.keys("tab", "down", "x")
	r.until("24 images")
	r.keys("x")
	r.until("26 images")
	r.keys("enter", "x", "n")
	r.until("25 images", "1 left out by you")
	for _, im := range r.m.env.Dataset.Manifest.Images {
		if im.Path == filepath.ToSlash("tulip/really.jpg") {
			t.Error("a file that was left out would be sent")
		}
	}
}

// TestTypingIsNotShortcuts: letters in a text field are text, and esc leaves the field.
func TestTypingIsNotShortcuts(t *testing.T) {
	garden(t)
	r := newRig(t, rigOptions{w: 100, h: 30})
	r.until("looks like a dataset")
	r.keys("/", "q", "3", "?")
	if r.m.active != screen.Data || r.m.list != nil || !strings.Contains(r.screen(), "q3?") {
		t.Fatalf("keys were taken for shortcuts:\n%s", r.screen())
	}
	r.keys("esc", "3")
	if r.m.active != screen.Runs {
		t.Error("esc did not leave the text field")
	}
}

// TestShareAsksAndFollows: s asks for an address, a wrong one is not sent, and the link shows once there is one, although
// nobody asks again; R tries a failed mail again.
func TestShareAsksAndFollows(t *testing.T) {
	garden(t)
	d := &double{report: reportJSON, runs: []api.Run{done()}, abilities: able}
	r := newRig(t, rigOptions{server: d.start(t), w: 100, h: 30})
	openResults()(r)
	r.until("s makes a share link")
	r.keys("s")
	r.until("Whoever has the link")
	r.keys("m", "e", "enter")
	if !strings.Contains(r.screen(), "is not a mail address") {
		t.Fatalf("a wrong address goes through:\n%s", r.screen())
	}
	r.send(tea.PasteMsg{Content: "@example.org"})
	r.keys("enter")
	d.delivers(under(link(), api.DeliverySending))
	r.keys("enter")
	if r.m.dialog != nil {
		t.Fatalf("the dialog stays:\n%s", r.screen())
	}
	r.until("sending")
	if order := <-d.shared; order.Email == nil || *order.Email != "me@example.org" {
		t.Errorf("ordered %+v", order)
	}
	d.delivers(link(), under(letter(), api.DeliveryFailed))
	r.until("dropbox.com", "no such mailbox")
	r.keys("s")
	r.until("Mail it to: me@example.org")
	r.keys("esc", "R")
	r.until("tries again now")
	for {
		if path := <-d.posts; strings.HasSuffix(path, "/retry") {
			if path != "/api/v1/runs/r14/deliveries/m/retry" {
				t.Errorf("sent %s", path)
			}
			return
		}
	}
}

// TestRetryIsSentOnce: pressing R again and again before the server has answered orders nothing more.
func TestRetryIsSentOnce(t *testing.T) {
	garden(t)
	d := &double{report: reportJSON, runs: []api.Run{done()}, abilities: able}
	d.delivers(under(letter(), api.DeliveryFailed))
	r := newRig(t, rigOptions{server: d.start(t), w: 100, h: 30})
	openResults()(r)
	r.until("R retry delivery")
	r.keys("R", "R", "R")
	r.until("tries again now")
	if n := len(d.posts); n != 1 {
		t.Errorf("the server was asked %d times", n)
	}
	r.until("R retry delivery")
}

// TestLetterStaysText: letters typed when the cursor has left a dialog's field go into the field, and are no shortcuts.
func TestLetterStaysText(t *testing.T) {
	garden(t)
	d := &double{report: reportJSON, runs: []api.Run{done()}, abilities: able}
	r := newRig(t, rigOptions{server: d.start(t), w: 100, h: 30})
	openResults()(r)
	r.until("s makes a share link")
	r.keys("s")
	r.until("Mail it to")
	r.send(tea.PasteMsg{Content: "a@example.org"})
	r.keys("enter", "n", "q", "h", "r")
	if r.m.dialog == nil || r.m.dialog.input.Value() != "a@example.orgnqhr" || len(d.posts) != 0 {
		t.Fatalf("letters did something:\n%s", r.screen())
	}
	r.keys("enter")
	r.send(tea.KeyPressMsg{Code: tea.KeyBackspace})
	if got := r.m.dialog.input.Value(); got != "a@example.orgnqh" || !r.m.dialog.typing {
		t.Errorf("backspace leaves %q", got)
	}
	r.keys("tab")
	r.send(tea.PasteMsg{Content: "x"})
	if got := r.m.dialog.input.Value(); got != "a@example.orgnqhx" {
		t.Errorf("after pasting: %q", got)
	}
	r.keys("tab", "esc")
	if r.m.dialog != nil {
		t.Error("esc did not close the dialog")
	}
}

// TestTrainAgainAsks: r lies next to R and starts a training, so it asks.
func TestTrainAgainAsks(t *testing.T) {
	garden(t)
	d := &double{}
	ended()(&rigOptions{}, d, "")
	r := newRig(t, rigOptions{server: d.start(t), w: 100, h: 30})
	openRun("Finished")(r)
	r.until("r train again")
	r.keys("r")
	r.until("Train flowers #14 again?")
	r.keys("enter")
	if r.m.dialog != nil || len(d.posts) != 0 {
		t.Fatal("enter must go back and send nothing")
	}
	r.keys("r")
	r.until("Train flowers #14 again?")
	r.keys("tab", "enter")
	if path := <-d.posts; path != "/api/v1/runs/r14/retry" {
		t.Errorf("sent %s", path)
	}
}

// TestServerComesBack: while the server is away the top line says so, and once it answers again what could not be had is
// there, without a key.
func TestServerComesBack(t *testing.T) {
	garden(t)
	d := &double{report: reportJSON, runs: []api.Run{done()}, abilities: able}
	d.delivers(link())
	d.broken.Store(true)
	r := newRig(t, rigOptions{server: d.start(t), w: 100, h: 30})
	r.until("unavailable", "R connect again")
	r.keys("3")
	r.until("being repaired")
	d.broken.Store(false)
	r.send(recheckMsg{}) // the clock's, five seconds later
	r.until("ready", "done")
	r.keys("4")
	r.until("36 of 40 photos", "dropbox.com")
	d.broken.Store(true)
	r.keys("3")
	r.until("unavailable")
	d.broken.Store(false)
	r.keys("R")
	r.until("ready")
}

// TestDeliveriesAreAskedForAgain: a first look without an answer is not the last.
func TestDeliveriesAreAskedForAgain(t *testing.T) {
	garden(t)
	d := &double{report: reportJSON, runs: []api.Run{done()}, abilities: able}
	d.delivers(link())
	r := newRig(t, rigOptions{server: d.start(t), w: 100, h: 30})
	openResults()(r)
	r.until("dropbox.com")
	d.broken.Store(true)
	r.keys("3", "4")
	r.until("As it was before: The database is being repaired", "dropbox.com")
	d.broken.Store(false)
	d.delivers(letter())
	r.until("mail  delivered") // by itself
	if strings.Contains(r.screen(), "As it was before") {
		t.Errorf("it still says that it failed:\n%s", r.screen())
	}
}

// TestEndedTokenIsNotTriedAgain: who tries a wrong token again and again is locked out, and with them everybody who
// comes from the same address.
func TestEndedTokenIsNotTriedAgain(t *testing.T) {
	garden(t)
	d := &double{report: reportJSON, runs: []api.Run{done()}, abilities: able}
	d.delivers(under(link(), api.DeliverySending))
	r := newRig(t, rigOptions{server: d.start(t), w: 100, h: 30})
	openResults()(r)
	r.until("sending")
	d.signed.Store(true)
	r.until("not signed in", "Your token has ended.", "`cultivar login`")
	asked := d.asked.Load()
	deadline := time.After(3 * time.Second) // longer than the time between two looks
	for waiting := true; waiting; {
		select {
		case msg := <-r.msgs:
			r.send(msg)
		case <-deadline:
			waiting = false
		}
	}
	if n := d.asked.Load(); n != asked {
		t.Errorf("asked %d times more", n-asked)
	}
	d.signed.Store(false)
	r.keys("R")
	r.until("ready")
}

// TestRunIsNoLongerFollowed: a stream that ends for good says so, and goes on after signing in again.
func TestRunIsNoLongerFollowed(t *testing.T) {
	garden(t)
	d := &double{runs: []api.Run{trainingRun(api.StateRunning)}}
	d.learning(3)
	r := newRig(t, rigOptions{server: d.start(t), w: 80, h: 24})
	openRun("epoch 3", "live")(r)
	d.signed.Store(true)
	d.cut <- struct{}{}
	r.until("not signed in", "No longer followed: Your token has ended.", "then press R")
	d.signed.Store(false)
	r.keys("R")
	r.until("live", "epoch 3")
	if strings.Contains(r.screen(), "No longer") {
		t.Errorf("it still says so:\n%s", r.screen())
	}
}

// TestReconnecting: while the stream is away the top line has room for the run too.
func TestReconnecting(t *testing.T) {
	garden(t)
	d := &double{runs: []api.Run{trainingRun(api.StateRunning)}}
	d.learning(3)
	r := newRig(t, rigOptions{server: d.start(t), w: 80, h: 24})
	openRun("epoch 3", "live")(r)
	d.broken.Store(true)
	d.cut <- struct{}{}
	r.until("! reconnecting")
	if top, _, _ := strings.Cut(r.screen(), "\n"); !strings.Contains(top, "flowers #14 training 15 %") {
		t.Errorf("the top line is %s", top)
	}
	d.broken.Store(false)
	r.until("● live")
}

// TestServerIsNamed: the top line names the machine when it is another one.
func TestServerIsNamed(t *testing.T) {
	garden(t)
	for address, want := range map[string]string{
		"https://gpu.example.org": "● gpu.example.org ", "https://gpu.example.org:8443/team": "● gpu.example.org:8443 ",
		"unix:///run/c.sock": "● ready", "http://127.0.0.1:8080": "● ready", "http://localhost:8080": "● ready", "https://[::1]:80": "● ready",
	} {
		r := newRig(t, rigOptions{w: 100, h: 30})
		c, err := client.New(client.Options{Server: address})
		if err != nil {
			t.Fatal(err)
		}
		r.m.env.Client, r.m.asking = c, true // nobody is asked
		r.m.Update(abilitiesMsg{from: c})
		if top, _, _ := strings.Cut(r.screen(), "\n"); !strings.Contains(top, want) {
			t.Errorf("%s: the top line is %s", address, top)
		}
	}
}

// TestLongReasonLeavesTheLink: however much a mail server has to say, the link stays in sight.
func TestLongReasonLeavesTheLink(t *testing.T) {
	garden(t)
	d := &double{report: reportJSON, runs: []api.Run{done()}, abilities: able}
	bad := under(letter(), api.DeliveryFailed)
	bad.Reason = ptr(strings.Repeat("The mail server has much to say. ", 20))
	d.delivers(link(), bad)
	ended(link(), bad)(&rigOptions{}, d, "")
	r := newRig(t, rigOptions{server: d.start(t), w: 80, h: 24})
	openResults()(r)
	r.until("has much to say")
	if s := r.screen(); !strings.Contains(s, "https://www.dropbox.com") || !strings.Contains(s, "…") {
		t.Errorf("results:\n%s", s)
	}
	openRun("has much to say")(r)
	if s := r.screen(); !strings.Contains(s, "https://www.dropbox.com") {
		t.Errorf("run:\n%s", s)
	}
}

// TestFooter: at every width it ends with the list of all keys, whole, and no key stands in it twice.
func TestFooter(t *testing.T) {
	garden(t)
	d := &double{report: reportJSON, runs: []api.Run{done()}, abilities: able}
	d.delivers(link(), under(letter(), api.DeliveryFailed))
	r := newRig(t, rigOptions{server: d.start(t), w: 80, h: 24})
	openResults()(r)
	r.until("R retry delivery", "dropbox.com")
	for _, r.m.link = range []linkState{connected, away} {
		for w := minWidth; w < 160; w++ {
			r.m.Update(tea.WindowSizeMsg{Width: w, Height: 24})
			lines := strings.Split(strings.TrimSpace(r.screen()), "\n")
			if foot := lines[len(lines)-1]; !strings.HasSuffix(foot, "? all keys") || strings.Count(foot, " R ") > 1 {
				t.Fatalf("at %d cells: %q", w, foot)
			}
		}
	}
}

// TestClassesBeforeTheirHelp: where there is no room for both, all rows are classes, and no sentence is cut off.
func TestClassesBeforeTheirHelp(t *testing.T) {
	garden(t)
	for n := range 12 {
		many := strings.Replace(reportJSON, `"classes":[`, `"classes":[`+strings.Repeat(`{"class":"weed","images":1,"precision":1,"recall":1,"f1":1},`, n), 1)
		d := &double{report: many, runs: []api.Run{done()}, abilities: able}
		r := newRig(t, rigOptions{server: d.start(t), w: 80, h: 24})
		openResults()(r)
		r.until("s makes a share link")
		s := r.screen()
		if strings.Contains(s, "precision:") != strings.Contains(s, "both in one") || strings.Count(s, "weed") < min(n, 9) {
			t.Errorf("with %d classes it shows\n%s", n+3, s)
		}
	}
}

// TestHiddenBoxAsksNothing: deliveries are looked at while their screen is shown, and again when it is shown anew.
func TestHiddenBoxAsksNothing(t *testing.T) {
	garden(t)
	d := &double{report: reportJSON, runs: []api.Run{done()}, abilities: able}
	d.delivers(under(link(), api.DeliverySending))
	r := newRig(t, rigOptions{server: d.start(t), w: 100, h: 30})
	openResults()(r)
	r.until("sending")
	r.keys("3")
	d.delivers(link())
	asked := d.asked.Load()
	deadline := time.After(3 * time.Second) // longer than the time between two looks
	for hidden := true; hidden; {
		select {
		case msg := <-r.msgs:
			r.send(msg)
		case <-deadline:
			hidden = false
		}
	}
	if n := d.asked.Load(); n != asked {
		t.Errorf("asked %d times while hidden", n-asked)
	}
	r.keys("4")
	r.until("dropbox.com")
}

// TestWishesReachTheRun: what is set below the recipe is part of the order.
func TestWishesReachTheRun(t *testing.T) {
	root := garden(t)
	d := &double{runs: []api.Run{trainingRun(api.StateRunning)}, abilities: able}
	r := newRig(t, rigOptions{server: d.start(t), folder: root, w: 100, h: 30})
	r.until("Next: choose", "ready")
	r.keys("n")
	r.until("EfficientNet-Lite0", "Share link")
	r.keys("G", "right", "up", "enter", "m", "e", "enter")
	if !strings.Contains(r.screen(), "is not a mail address") {
		t.Fatalf("a wrong address goes through:\n%s", r.screen())
	}
	r.send(tea.PasteMsg{Content: "@example.org"})
	r.keys("enter", "up", "right", "n")
	r.until("epoch")
	o := <-d.created
	if o.Profile == nil || *o.Profile != "gpu" || o.Notify == nil || *o.Notify.Email != "me@example.org" || !*o.Notify.Share {
		t.Errorf("ordered %+v", o)
	}
}

// TestNothingSetUpOffersNothing: without Dropbox and mail there is no s, only how to download.
func TestNothingSetUpOffersNothing(t *testing.T) {
	garden(t)
	d := &double{report: reportJSON, runs: []api.Run{done()}}
	r := newRig(t, rigOptions{server: d.start(t), w: 100, h: 30})
	openResults()(r)
	r.until("Download with d, or: cultivar download 14")
	r.keys("s")
	if r.m.dialog != nil || strings.Contains(r.screen(), "share") {
		t.Errorf("sharing is offered:\n%s", r.screen())
	}
}
