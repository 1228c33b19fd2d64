// Package app is the root of the terminal program: it owns the screens, routes messages to them, and draws what is
// around them. What a screen shows and does is the screen's own.
package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/screen/data"
	"github.com/cultivar-ml/cultivar/tui/internal/screen/results"
	"github.com/cultivar-ml/cultivar/tui/internal/screen/run"
	"github.com/cultivar-ml/cultivar/tui/internal/screen/runs"
	"github.com/cultivar-ml/cultivar/tui/internal/screen/train"
	"github.com/cultivar-ml/cultivar/tui/internal/theme"
)

// Options say how the program starts.
type Options struct {
	// Connect reaches the server, starting one when nothing is configured. It is called in the background and again
	// when the user asks for another try.
	Connect func(context.Context) (*client.Client, error)
	// Folder is opened at the start; empty: the user picks one.
	Folder string
	// NoColor keeps to the terminal's own colours; ASCII draws no other characters.
	NoColor, ASCII bool
	// Version is shown in the list of actions.
	Version string
}

// Run shows the program until the user leaves or ctx ends. It needs a terminal.
func Run(ctx context.Context, o Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the streams and transfers that commands still hold
	m, err := New(ctx, o)
	if err != nil {
		return err
	}
	opts := []tea.ProgramOption{tea.WithContext(ctx)}
	if o.NoColor {
		opts = append(opts, tea.WithColorProfile(colorprofile.Ascii))
	}
	_, err = tea.NewProgram(m, opts...).Run()
	if errors.Is(err, tea.ErrInterrupted) || errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	if s := m.leaving(); s != "" {
		fmt.Println(s)
	}
	return nil
}

// Model is the root. It is a pointer because screens keep the environment that it owns.
type Model struct {
	options Options
	env     *screen.Env
	screens map[screen.Name]screen.Screen
	active  screen.Name
	history []screen.Name // where esc leads
	width   int
	height  int
	dialog  *dialog
	list    *actionList // `?`; nil: closed
	toast   string
	toastID int
	mouse   bool
	link    linkState
	asking  bool // what the server can do is being asked for
	timed   bool // a server that does not answer is asked again by itself
}

type linkState int

const (
	connecting linkState = iota
	connected
	refused   // there is no server
	away      // there is one, which does not answer now
	signedOut // it does not know the user
)

// recheck is when a server that did not answer is asked again.
const recheck = 5 * time.Second

// New makes the root with its screens; it connects when the program starts.
func New(ctx context.Context, o Options) (*Model, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the current folder: %w", err)
	}
	env := &screen.Env{
		Ctx: ctx, Active: screen.Data, Folder: o.Folder, WorkDir: dir, Now: time.Now,
		Theme: theme.New(theme.Options{NoColor: o.NoColor, ASCII: o.ASCII}),
	}
	m := &Model{options: o, env: env, mouse: true, active: screen.Data}
	m.screens = map[screen.Name]screen.Screen{
		screen.Data: data.New(env), screen.Train: train.New(env), screen.Runs: runs.New(env),
		screen.Run: run.New(env), screen.Results: results.New(env),
	}
	return m, nil
}

// Init asks the terminal for its background and the server for an answer, while the first screen shows already.
func (m *Model) Init() tea.Cmd {
	return tea.Batch(tea.RequestBackgroundColor, m.connect(), m.screens[m.active].Shown())
}

type connectedMsg struct {
	client *client.Client
	err    error
}

func (m *Model) connect() tea.Cmd {
	ctx, dial := m.env.Ctx, m.options.Connect
	return func() tea.Msg {
		c, err := dial(ctx)
		return connectedMsg{client: c, err: err}
	}
}

// abilitiesMsg is what the server is set up to do.
type abilitiesMsg struct {
	from      *client.Client
	abilities api.Abilities
	err       error
}

type recheckMsg struct{}

// abilities asks for them. That they come tells too that the server answers, and knows the user.
func (m *Model) abilities() tea.Cmd {
	if m.env.Client == nil || m.asking {
		return nil
	}
	m.asking = true
	ctx, c := m.env.Ctx, m.env.Client
	return func() tea.Msg {
		a, err := c.Abilities(ctx)
		return abilitiesMsg{from: c, abilities: a, err: err}
	}
}

// leaving is what to say to a user who quits: that what runs goes on.
func (m *Model) leaving() string {
	for _, name := range []screen.Name{screen.Train, screen.Run, screen.Runs} {
		if s := m.screens[name].Status().Leaving; s != "" {
			return s
		}
	}
	return ""
}
