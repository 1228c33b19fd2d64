// Package screen is the contract between the root of the terminal program and its screens: what a screen must do, the
// environment it lives in, and the messages by which screens ask the root for something. It holds no screen.
package screen

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/tui/internal/theme"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/keys"
)

// Name identifies a screen.
type Name int

// The screens. Run is the live view of one run; it stands below Runs and has no number key of its own.
const (
	Data Name = iota
	Train
	Runs
	Results
	Try
	Run
)

// Screen is one full view. All methods are called from the root's Update and View, one at a time. None does IO; Update
// and the actions return commands for that.
type Screen interface {
	// Shown is called each time the screen becomes the visible one.
	Shown() tea.Cmd
	// Resize says how many cells View has to fill.
	Resize(w, h int)
	// Update takes every message that is not a key press; messages of other screens are ignored.
	Update(msg tea.Msg) tea.Cmd
	// Key takes a key press that no global key used; false: nobody wanted it.
	Key(msg tea.KeyPressMsg) (tea.Cmd, bool)
	// Typing tells whether a text field has the focus, so that letters are text.
	Typing() bool
	// Actions lists what can be done now: footer and `?` are made of it.
	Actions() []keys.Action
	// View returns Resize's number of lines, each exactly as wide.
	View() []string
	// Status says in a few words what it is about, and how far a long work is.
	Status() Status
}

// Status is for the top line, the window's title and the terminal's own progress bar.
type Status struct {
	Text     string // "flowers #14"; safe to print
	Working  bool   // something long is under way
	Progress int    // percent, -1: not known
	Failed   bool
	Link     string // state of a live connection: "live", "reconnecting…"; empty: none
	Leaving  string // what to say when the program is left now; empty: nothing
	Keeps    bool   // leaving now breaks work of this very process off: ask first
}

// Env is what every screen sees of the world. Only the root changes it, inside Update.
type Env struct {
	Ctx     context.Context
	Theme   *theme.Theme
	Client  *client.Client // nil until connected
	Refused error          // why there is no Client, after a failed try
	Active  Name           // the screen that is shown
	// Abilities is what the server is set up to do; nil: not known, and then nothing beyond training is offered.
	Abilities *api.Abilities
	Mail      string   // the address that was mailed to last in this session
	Dataset   *Dataset // the folder scanned last, to find photos by their hash; nil: none
	Folder    string   // folder to open at the start; empty: pick one
	WorkDir   string   // where downloads go
	Now       func() time.Time
}

// Dataset is a scanned folder, ready to be sent: what is left out is already left out.
type Dataset struct {
	Root     string
	Manifest *manifest.Manifest
	LeftOut  []string // paths the user left out, for the equivalent command
}

// Connected says that Env.Client is there, or answers again: what could not be had before is asked for now.
type Connected struct{}

// Trouble tells the root that the server did not answer a screen, or said no. It is for the top line, which says how the
// connection is; what is wrong is said on the screen.
type Trouble struct{ Err error }

// AbilitiesKnown says that Env.Abilities is there.
type AbilitiesKnown struct{}

// Mailed asks the root to remember an address.
type Mailed struct{ Address string }

// Open asks the root to show a screen.
type Open struct{ To Name }

// OpenTrain asks for the training screen with a dataset.
type OpenTrain struct{ Dataset Dataset }

// OpenRun asks for the live screen of a run.
type OpenRun struct{ Run api.Run }

// OpenResults asks for the results of a run.
type OpenResults struct{ Run api.Run }

// OpenTry asks for the screen that tries a finished run's model.
type OpenTry struct{ Run api.Run }

// Back asks for the screen before.
type Back struct{}

// Toast shows a sentence for a few seconds.
type Toast struct{ Text string }

// Ask asks the root for a dialog; Cancel is the default. Yes runs in Update when the user agrees.
type Ask struct {
	Title, Text string
	Verb        string // what agreeing does: "Cancel the run"
	Yes         func() tea.Cmd
	Field       *Field // asked for before the verb; nil: nothing is
}

// Field is a line of text that a dialog asks for. Its dialog calls Give in place of Yes.
type Field struct {
	Label, Value string
	Wrong        func(string) string // what is wrong with a text; empty: nothing
	Give         func(string) tea.Cmd
}

// Send makes a command of a message to the root.
func Send(msg tea.Msg) tea.Cmd { return func() tea.Msg { return msg } }

// Terminal tells whether a run in this state is over for good.
func Terminal(s api.State) bool { return client.Terminal(s) }
