package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/safe"
)

// maxTokenDays bounds how long a token may live: ten years is meant to be for ever.
const maxTokenDays = 3650

// tokenCommand gives out people's tokens. It works on the data folder, beside a running server: whoever may write there is
// the admin.
func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Give people tokens to sign in with, list them, revoke them"}
	cmd.AddCommand(tokenCreateCommand(), tokenListCommand(), tokenRevokeCommand())
	return cmd
}

func tokenCreateCommand() *cobra.Command {
	var f settingsFlags
	var name, scopes string
	var days int
	cmd := &cobra.Command{
		Use:   "create USER",
		Short: "Make a token for a user and print it, this one time",
		Long: "Make a token for a user and print it: on standard output the token alone, which is stored nowhere and cannot be shown again.\n" +
			"A user begins to exist with the first token.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := auth.CheckUser(args[0]); err != nil {
				return err
			}
			may, err := auth.ParseScopes(scopes)
			if err != nil {
				return err
			}
			if days < 1 || days > maxTokenDays {
				return fmt.Errorf("--days is %d, but must be 1 to %d", days, maxTokenDays)
			}
			return f.withStore(cmd.Context(), func(db *store.Store) error {
				text := auth.NewToken()
				t, err := db.AddToken(cmd.Context(), store.Token{
					ID: auth.NewID(), Owner: args[0], Name: name, Scopes: may.String(), Expires: time.Now().AddDate(0, 0, days),
				}, auth.Hash(text))
				if err != nil {
					return err
				}
				_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "Token %s for %s, until %s, to %s. It is shown this one time:\n",
					t.ID, t.Owner, t.Expires.Format(time.DateOnly), strings.ReplaceAll(t.Scopes, " ", ", "))
				_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
				return err
			})
		},
	}
	f.where(cmd.Flags())
	cmd.Flags().StringVar(&name, "name", "", "what it is for, in a few words")
	cmd.Flags().StringVar(&scopes, "scopes", "read,upload,train", "what it may do: read, upload, train, admin, portal")
	cmd.Flags().IntVar(&days, "days", 90, "how many days it is good for")
	return cmd
}

func tokenListCommand() *cobra.Command {
	var f settingsFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [USER]",
		Short: "List the tokens of a user, or everybody's",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			user := strings.Join(args, "")
			return f.withStore(cmd.Context(), func(db *store.Store) error {
				all, err := db.Tokens(cmd.Context(), user)
				if err != nil {
					return err
				}
				if asJSON {
					return printTokensJSON(cmd.OutOrStdout(), all)
				}
				return printTokens(cmd.OutOrStdout(), all, time.Now())
			})
		},
	}
	f.where(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

func tokenRevokeCommand() *cobra.Command {
	var f settingsFlags
	cmd := &cobra.Command{
		Use:   "revoke ID",
		Short: "End a token for good, from its next request on",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withStore(cmd.Context(), func(db *store.Store) error {
				t, err := db.RevokeToken(cmd.Context(), args[0])
				if errors.Is(err, store.ErrNotFound) {
					return fmt.Errorf("there is no token with id %q; see them with: cultivar-server token list", args[0])
				}
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "Token %s of %s is revoked.\n", t.ID, safe.Text(t.Owner))
				return err
			})
		},
	}
	f.where(cmd.Flags())
	return cmd
}

// withStore opens the database of the settings for one piece of work.
func (s *settingsFlags) withStore(ctx context.Context, work func(*store.Store) error) (err error) {
	c, _, err := s.settings()
	if err != nil {
		return err
	}
	if err := files.MkdirAll(c.Data); err != nil {
		return err
	}
	if err := ownData(c.Data); err != nil {
		return err
	}
	db, err := store.Open(ctx, filepath.Join(c.Data, databaseFile), time.Now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return work(db)
}

// ownData refuses to work as root on another account's data folder: the files made there would be closed to the server.
// Whoever else may not write there is told so by the first write.
func ownData(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("look at the data folder: %w", err)
	}
	if os.Getuid() == 0 && st.Uid != 0 {
		return fmt.Errorf("the data folder %s belongs to the account with number %d: run this as that account, such as with sudo -u '#%d'", dir, st.Uid, st.Uid)
	}
	return nil
}

// tokenState says in a word whether a token can be used.
func tokenState(t store.Token, now time.Time) string {
	switch {
	case t.Revoked != nil:
		return "revoked"
	case !now.Before(t.Expires):
		return "expired"
	}
	return "good"
}

func printTokens(w io.Writer, all []store.Token, now time.Time) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "There are no tokens. Make one with: cultivar-server token create USER")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "ID\tUSER\tSTATE\tUNTIL\tLAST USED\tMAY\tFOR")
	for _, t := range all {
		used := "never"
		if t.LastUsed != nil {
			used = t.LastUsed.Format(time.DateOnly)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, safe.Text(t.Owner), tokenState(t, now), t.Expires.Format(time.DateOnly), used,
			strings.ReplaceAll(t.Scopes, " ", ","), safe.Text(t.Name))
	}
	return table.Flush()
}

func printTokensJSON(w io.Writer, all []store.Token) error {
	e := json.NewEncoder(w)
	for _, t := range all {
		err := e.Encode(struct {
			Type     string     `json:"message_type"`
			ID       string     `json:"id"`
			User     string     `json:"user"`
			Name     string     `json:"name"`
			Scopes   []string   `json:"scopes"`
			Created  time.Time  `json:"created"`
			Expires  time.Time  `json:"expires"`
			LastUsed *time.Time `json:"last_used"`
			Revoked  *time.Time `json:"revoked"`
		}{"token", t.ID, t.Owner, t.Name, strings.Fields(t.Scopes), t.Created, t.Expires, t.LastUsed, t.Revoked})
		if err != nil {
			return err
		}
	}
	return nil
}
