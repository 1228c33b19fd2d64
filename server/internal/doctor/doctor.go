// Package doctor looks at an installation as its server would and says, in words for its admin, what works, what does not,
// and what to do. It changes nothing: it takes no lock, migrates nothing, delivers nothing and makes no Job; what it writes
// are temporary files, which it removes. It may run beside the server.
package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/shared/safe"
)

// State is how a check came out.
type State string

// The states of a check.
const (
	OK      State = "ok"
	Warning State = "warning" // it works, or may; an admin should know
	Failed  State = "failed"
)

// Check is one thing that was looked at. Its texts have one line each, are fit for a terminal and hold no secret.
type Check struct {
	Name   string // such as "data folder"; the same in every release
	State  State
	Text   string // what was found
	Remedy string // what to do; empty when the state is OK
}

// Options say what to look at.
type Options struct {
	Config   config.Config  // resolved
	File     string         // that the settings were read from; empty: none
	Database string         // path of the database file
	Lock     string         // path of the file that a running server holds a lock on
	Version  string         // of this program, as version.String gives it
	Deep     bool           // read base models whole and compare their hashes
	Roots    *x509.CertPool // whom to trust besides the system; nil: only the system
}

// grace is how long a group may go on after its time, to say in its own words what took so long and to clean up.
const grace = 2 * time.Second

// examination is one run of all checks.
type examination struct {
	Options
	running func() (bool, error) // whether a server runs on the data folder
}

// group is checks that build on one another, and their time together. Groups know nothing of each other and run at once.
type group struct {
	name  string
	limit time.Duration
	hangs string // what to do when even the system does not answer
	look  func(context.Context) []Check
}

// Run makes all checks at once and hands each to tell in a fixed order, as soon as it and those before it are known.
func Run(ctx context.Context, o Options, tell func(Check)) {
	e := newExamination(o)
	var all []<-chan []Check
	for _, g := range e.groups() {
		all = append(all, g.begin(ctx))
	}
	for _, found := range all {
		for _, c := range <-found {
			tell(c.plain())
		}
	}
}

func newExamination(o Options) *examination {
	return &examination{Options: o, running: sync.OnceValues(func() (bool, error) { return locked(o.Lock) })}
}

func (e *examination) groups() []group {
	c := e.Config
	disk := func(dir string) string {
		return fmt.Sprintf("The disk or share under %s hangs. See what the system says of it, with dmesg and mount.", dir)
	}
	deep := 30 * time.Second
	if e.Deep {
		deep = 10 * time.Minute
	}
	out := []group{
		{"settings", 10 * time.Second, "", e.settings},
		{"data folder", 20 * time.Second, disk(c.Data), e.data},
		{"server", 20 * time.Second, disk(c.Data), e.server},
		{"database", 2 * time.Minute, disk(c.Data), e.database},
		{"volume", time.Minute, disk(c.Volume), e.volume},
		{"base models", deep, disk(c.Bases), e.bases},
	}
	if c.Runner == config.RunnerKubernetes {
		out = append(out, group{"cluster", time.Minute, "See whether this machine reaches the API server.", e.cluster})
	} else {
		out = append(out, group{"trainer", 30 * time.Second, disk(c.Trainer), e.trainer})
	}
	return append(out,
		group{"callback", 15 * time.Second, "See whether this machine's DNS works.", e.callback},
		group{"deliveries", time.Minute, "See whether this machine's network works.", e.deliveries},
	)
}

// begin starts a group. Its answer comes in its time, whatever hangs: a call into a share that went away cannot be broken
// off, only left alone.
func (g group) begin(ctx context.Context) <-chan []Check {
	limited, cancel := context.WithTimeout(ctx, g.limit)
	found, out := make(chan []Check, 1), make(chan []Check, 1)
	go func() {
		defer cancel()
		found <- g.look(limited)
	}()
	go func() {
		<-limited.Done()
		select {
		case c := <-found:
			out <- c
		case <-time.After(grace):
			out <- []Check{failed(g.name, g.hangs, "nothing answered within %s", g.limit)}
		}
	}()
	return out
}

func ok(name, text string, args ...any) Check {
	return Check{Name: name, State: OK, Text: fmt.Sprintf(text, args...)}
}

func warning(name, remedy, text string, args ...any) Check {
	return Check{Name: name, State: Warning, Text: fmt.Sprintf(text, args...), Remedy: remedy}
}

func failed(name, remedy, text string, args ...any) Check {
	return Check{Name: name, State: Failed, Text: fmt.Sprintf(text, args...), Remedy: remedy}
}

// plain makes the texts fit for a terminal, one line each: there are names and other programs' words in them.
func (c Check) plain() Check {
	line := func(s string) string {
		return safe.Text(strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ")).String()
	}
	c.Text, c.Remedy = line(c.Text), line(c.Remedy)
	return c
}

// program says which program looks, and as whom: the answers depend on both.
func (e *examination) program() Check {
	return ok("program", "cultivar-server %s, run by the account %s", e.Version, account(os.Geteuid()))
}

// inner is an error without what was attempted, where a check says that itself.
func inner(err error) error {
	if in := errors.Unwrap(err); in != nil {
		return in
	}
	return err
}
