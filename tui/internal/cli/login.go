package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/tui/internal/login"
)

const (
	maxToken = 64 << 10 // bytes: tokens of identity providers take a few thousand
	maxRoots = 1 << 20
)

// loginOptions are the flags of login.
type loginOptions struct {
	tokenFile string // - is standard input
	ca        string
}

func (c *command) loginVerb() *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use: "login URL", Short: "Sign in to a server, and use it from now on", Args: usage(cobra.ExactArgs(1)),
		Long: "Sign in to a server, and use it from now on. The token is asked for, or read from a file, checked with the server, and\n" +
			"kept where only you can read it. `cultivar logout` forgets it.",
		Example: "cultivar login https://cultivar.example.org\ncultivar login https://10.0.0.7 --ca company.pem --token-file token.txt\n" +
			"cultivar login http://127.0.0.1:8080    # a forwarded port",
		RunE: func(cmd *cobra.Command, args []string) error { return c.login(cmd, args[0], o) },
	}
	cmd.Flags().StringVar(&o.tokenFile, "token-file", "", "file with the token; - is standard input")
	cmd.Flags().StringVar(&o.ca, "ca", "", "file with certificates, in PEM, to trust for this server besides the system's")
	return cmd
}

func (c *command) login(cmd *cobra.Command, address string, o loginOptions) error {
	ctx := cmd.Context()
	address, err := login.Address(address)
	if err != nil {
		return usageOf(cmd, err)
	}
	known, err := login.Load()
	if err != nil {
		return err
	}
	// What was said of this server before still holds, so that only a new token is needed when the old one has ended.
	s, _ := known.Find(address)
	s.Server, s.Insecure = address, (c.insecure || s.Insecure) && login.Readable(address)
	if err := c.encrypted(s); err != nil {
		return err
	}
	if o.ca != "" {
		if s.Roots, err = readSmall(o.ca, maxRoots); err != nil {
			return err
		}
	}
	if s.Token, err = c.token(ctx, cmd, s, o); err != nil {
		return err
	}
	cl, err := client.New(client.Options{Server: s.Server, Token: s.Token, Roots: s.Roots})
	if err != nil {
		return err
	}
	a, err := cl.Abilities(ctx)
	if err != nil {
		return refused(s, err)
	}
	if err := keep(s); err != nil {
		return err
	}
	if c.json {
		return c.emit("login", struct {
			Server    string        `json:"server"`
			Abilities api.Abilities `json:"abilities"`
		}{s.Server, a})
	}
	c.say("Signed in to %s. %s", s.Server, abilityWords(a))
	if os.Getenv("CULTIVAR_SERVER") != "" {
		c.note("CULTIVAR_SERVER is set and goes before: unset it to use this server.")
	}
	return nil
}

// keep adds a server to those that were signed in to. They are read anew: asking for the token may have taken a while.
func keep(s login.Server) error {
	known, err := login.Load()
	if err != nil {
		return err
	}
	known.Put(s)
	return known.Save()
}

// refused says what an error means for someone who is just signing in; what the server says goes before.
func refused(s login.Server, err error) error {
	switch api.Code(err) {
	case api.CodeUnauthorized:
		return codedError{fmt.Errorf("%w\nNothing was kept. Ask the admin of %s for a new token, and sign in again", err, s.Server), exitSignIn}
	case api.CodeNotFound:
		return codedError{fmt.Errorf("what answers at %s is no Cultivar server of this release: check the address and its path. Nothing was kept", s.Server), exitNotFound}
	}
	return err
}

// abilityWords says what a server can do, for a person.
func abilityWords(a api.Abilities) string {
	where := "It trains on its own machine"
	if a.Runner == api.RunnerKubernetes {
		where = "It trains on Kubernetes"
	}
	if n := len(a.Profiles); n > 1 {
		where += fmt.Sprintf(" with %d machine sizes", n)
	}
	switch {
	case a.Share && a.Mail:
		return where + ", makes share links and sends mail."
	case a.Share:
		return where + " and makes share links."
	case a.Mail:
		return where + " and sends mail."
	}
	return where + "."
}

// token is read from a file or asked for; a socket needs none.
func (c *command) token(ctx context.Context, cmd *cobra.Command, s login.Server, o loginOptions) (string, error) {
	var text string
	var err error
	switch {
	case o.tokenFile == "-":
		var b []byte
		if b, err = io.ReadAll(io.LimitReader(c.In, maxToken+1)); err == nil && len(b) > maxToken {
			err = errors.New("it is too long for a token")
		}
		text = string(b)
	case o.tokenFile != "":
		text, err = readSmall(o.tokenFile, maxToken)
	case strings.HasPrefix(s.Server, "unix:"):
		return "", nil
	case c.Secret == nil:
		return "", usageOf(cmd, errors.New("there is no terminal to ask for the token on: give it with --token-file FILE, or --token-file - for standard input"))
	default:
		text, err = c.Secret(ctx, fmt.Sprintf("Token for %s (it is not shown): ", s.Server))
	}
	if err != nil {
		return "", fmt.Errorf("no token: %w", err)
	}
	if text, err = tidyToken(text); err == nil && text == "" {
		err = errors.New("the token is empty; ask the server's admin for one")
	}
	return text, err
}

// tidyToken drops the blanks around a token, and refuses a text that can be none.
func tidyToken(text string) (string, error) {
	text = strings.TrimSpace(text)
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("that is no token: it holds blanks or characters that tokens do not have")
	}
	return text, nil
}

// readSmall reads a file of at most so many bytes.
func readSmall(path string, most int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, bare(err))
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, bare(err))
	}
	if int64(len(b)) > most {
		return "", fmt.Errorf("%s is too large to be what is wanted here", shown(path, ""))
	}
	return string(b), nil
}

// bare is the error of a file without its path, which the sentence around it names.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func (c *command) logoutVerb() *cobra.Command {
	return &cobra.Command{
		Use: "logout [URL]", Short: "Forget a server's token", Args: usage(cobra.MaximumNArgs(1)),
		Long:    "Forget the token of the server you signed in to, or of another one. Trainings there go on.",
		Example: "cultivar logout\ncultivar logout https://cultivar.example.org",
		RunE: func(cmd *cobra.Command, args []string) error {
			known, err := login.Load()
			if err != nil {
				return err
			}
			address := known.Current
			if len(args) == 1 {
				if address, err = login.Address(args[0]); err != nil {
					return usageOf(cmd, err)
				}
			}
			if !known.Drop(address) {
				what := "You are signed in to no server."
				if address != "" {
					what = "You are not signed in to " + address + "."
				}
				return api.Errorf(api.CodeNotFound, "%s `cultivar server` tells which one is used.", what)
			}
			if err := known.Save(); err != nil {
				return err
			}
			if c.json {
				return c.emit("logout", struct {
					Server string `json:"server"`
				}{address})
			}
			c.say("Signed out of %s; its token is forgotten here. The server still takes it until its admin ends it.", address)
			if known.Current == "" {
				c.note("From now on the server on this machine is used, which needs no signing in.")
			}
			return nil
		},
	}
}
