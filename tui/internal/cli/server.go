package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/tui/internal/local"
	"github.com/cultivar-ml/cultivar/tui/internal/login"
)

// own is what --server calls the server on this machine, which is started when it does not run.
const own = "own"

// source says why a server is the one that is used.
type source string

const (
	byFlag  source = "flag"
	byEnv   source = "environment"
	byLogin source = "login"
	byOwn   source = "own"
)

// target is the server that is used.
type target struct {
	login.Server
	source source
	byEnv  bool // its token is that of CULTIVAR_TOKEN
}

// target is the first of: --server, CULTIVAR_SERVER, where the person signed in, the server on this machine. A token is
// given to the server that it belongs to: CULTIVAR_TOKEN to one named by flag or environment, a kept one to its own.
func (c *command) target() (target, error) {
	known, err := login.Load()
	switch env := os.Getenv("CULTIVAR_SERVER"); {
	case c.server != "":
		return c.named(known, c.server, byFlag)
	case env != "":
		return c.named(known, env, byEnv)
	case err != nil:
		return target{}, err
	}
	if kept, ok := known.Find(known.Current); ok && known.Current != "" {
		return target{Server: kept, source: byLogin}, c.encrypted(kept)
	}
	return target{source: byOwn}, nil
}

// named is the server of an address that a person gave. It is said too when it is refused for want of encryption.
func (c *command) named(known login.Servers, address string, from source) (target, error) {
	if address == own {
		return target{source: byOwn}, nil
	}
	where := map[source]string{byFlag: "--server", byEnv: "CULTIVAR_SERVER"}[from]
	tidy, err := login.Address(address) // refuses what holds a password: the address is shown
	if err != nil {
		return target{}, codedError{fmt.Errorf("%s: %w", where, err), exitUsage}
	}
	t := target{Server: login.Server{Server: tidy}, source: from}
	if kept, ok := known.Find(tidy); ok {
		t.Server = kept
	}
	token, err := tidyToken(os.Getenv("CULTIVAR_TOKEN"))
	if err != nil {
		return target{}, codedError{fmt.Errorf("CULTIVAR_TOKEN: %w", err), exitUsage}
	}
	if token != "" {
		t.Token, t.byEnv = token, true
	}
	return t, c.encrypted(t.Server)
}

// signIn adds to the error of a server that does not know the caller what to do about it.
func (c *command) signIn(err error) error {
	if api.Code(err) != api.CodeUnauthorized || strings.Contains(err.Error(), "cultivar login") {
		return err
	}
	t, terr := c.target()
	switch {
	case terr != nil || t.source == byOwn:
		return err
	case t.byEnv:
		return fmt.Errorf("%w\nThe token is the one in CULTIVAR_TOKEN: put the new one there", err)
	}
	return fmt.Errorf("%w\nThen sign in: cultivar login %s", err, t.Server.Server)
}

// encrypted refuses to talk in the clear with another machine unless that was allowed.
func (c *command) encrypted(s login.Server) error {
	if c.insecure || s.Insecure || !login.Readable(s.Server) {
		return nil
	}
	return api.Errorf(api.CodeInvalid, "%s is not encrypted: everyone on the way could read your photos and your token, and use it. "+
		"Use https://, or forward a port of the server to this machine and use http://127.0.0.1:PORT. --insecure does it all the same.", s.Server)
}

// connect reaches the server that is used; the one on this machine is started if need be.
func (c *command) connect(ctx context.Context) (*client.Client, error) {
	t, err := c.target()
	if err != nil {
		return nil, err
	}
	if t.source != byOwn {
		return client.New(client.Options{Server: t.Server.Server, Token: t.Token, Roots: t.Roots})
	}
	o, err := local.Connect(ctx, local.Options{})
	if err != nil {
		return nil, unreachable{err}
	}
	return client.New(o)
}

// unreachable marks errors of reaching the server on this machine.
type unreachable struct{ error }

func (u unreachable) Unwrap() []error { return []error{u.error, client.ErrUnreachable} }

// serverReport is what `server --json` prints; it has no token.
type serverReport struct {
	Server   string   `json:"server"`
	Source   source   `json:"source"`
	SignedIn bool     `json:"signed_in"`
	Known    []string `json:"known"`
}

func (c *command) serverVerb() *cobra.Command {
	return &cobra.Command{
		Use: "server", Short: "See which server is used, and why", Args: usage(cobra.NoArgs),
		Long: "See which server is used, and why. The first of these counts: --server, $CULTIVAR_SERVER, the one you signed in to\n" +
			"with `cultivar login`, and the one on this machine, which needs nothing and is called own.",
		Example: "cultivar server\ncultivar server --json\ncultivar runs --server own",
		RunE: func(*cobra.Command, []string) error {
			t, refusal := c.target()
			if refusal != nil && t.Server.Server == "" {
				return refusal
			}
			known, err := login.Load()
			if err != nil {
				return err
			}
			r := serverReport{Server: t.Server.Server, Source: t.source, SignedIn: t.Token != "", Known: []string{}}
			for _, s := range known.Servers {
				r.Known = append(r.Known, s.Server)
			}
			if t.source == byOwn {
				dir, err := local.DataDir()
				if err != nil {
					return err
				}
				r.Server = "unix://" + local.Socket(dir)
			}
			if c.json {
				return errors.Join(c.emit("server", r), refusal)
			}
			c.tellServer(r, t.byEnv)
			return refusal
		},
	}
}

func (c *command) tellServer(r serverReport, tokenByEnv bool) {
	why := map[source]string{
		byFlag: "--server names it", byEnv: "CULTIVAR_SERVER names it", byLogin: "you signed in to it with `cultivar login`",
		byOwn: "the one on this machine; no other is named",
	}[r.Source]
	if r.Source == byOwn && (c.server == own || os.Getenv("CULTIVAR_SERVER") == own) {
		why = "the one on this machine, as asked for"
	}
	c.say("%s", shown(r.Server, ""))
	c.say("  why: %s", why)
	if r.Source != byOwn {
		token := "none: sign in with `cultivar login " + shown(r.Server, "") + "`"
		switch {
		case tokenByEnv:
			token = "from CULTIVAR_TOKEN"
		case r.SignedIn:
			token = "kept in " + shown(login.Path(), "")
		}
		c.say("  token: %s", token)
	}
	if os.Getenv("CULTIVAR_TOKEN") != "" && (r.Source == byLogin || r.Source == byOwn) {
		c.note("  CULTIVAR_TOKEN is not used: it counts only with CULTIVAR_SERVER or --server.")
	}
	for _, k := range r.Known {
		if k != r.Server {
			c.say("  also signed in to: %s (use it with --server)", shown(k, ""))
		}
	}
}
