package deliver_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/deliver"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/delivertest"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// failedLines is how many lines the mail about a failed run has.
const failedLines = 13

// bare is the outbox of a server on w's store without Dropbox and mail.
func bare(w *world) (*deliver.Service, error) {
	return deliver.New(deliver.Options{
		Store: w.db, Artifact: delivertest.Finder(w.db, w.dir), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Now: func() time.Time { return w.now },
	})
}

// rename gives a run any name at all, past whatever checks names.
func rename(t *testing.T, w *world, run, name string) error {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(w.dir, "db"))
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(t.Context(), "UPDATE tasks SET name = $1, reason = $1, dataset_name = $1 WHERE id = $2", name, run)
	return err
}

func TestPlan(t *testing.T) {
	h5 := runspec.Artifact{Name: "model.h5", Format: "h5", SHA256: "aa"}
	zip := runspec.Artifact{Name: "savedmodel.zip", Format: "savedmodel", SHA256: "bb"}
	labels := runspec.Artifact{Name: "labels.txt", Format: "labels", SHA256: "cc"}
	both := api.Notify{Email: toAda.Email, Share: share.Share}
	full, noDropbox, nothing := settings{}, settings{noDropbox: true}, settings{noDropbox: true, noMail: true}
	for _, c := range []struct {
		name      string
		world     settings
		kind      runspec.Kind
		wishes    api.Notify
		to        api.State
		artifacts []runspec.Artifact
		want      string
	}{
		{"nothing wished", full, runspec.Train, api.Notify{}, api.StateSucceeded, []runspec.Artifact{h5}, ""},
		{"a link", full, runspec.Train, share, api.StateSucceeded, []runspec.Artifact{labels, zip, h5}, "link model.h5"},
		{"a mail brings a link", full, runspec.Train, toAda, api.StateSucceeded, []runspec.Artifact{h5}, "link model.h5, email ada@example.org after model.h5"},
		{"both", full, runspec.Train, both, api.StateSucceeded, []runspec.Artifact{h5}, "link model.h5, email ada@example.org after model.h5"},
		{"without h5", full, runspec.Train, share, api.StateSucceeded, []runspec.Artifact{labels, zip}, "link savedmodel.zip"},
		{"TensorFlow Lite only", full, runspec.Train, share, api.StateSucceeded, []runspec.Artifact{labels, {Name: "model-int8.tflite", Format: "tflite_int8", SHA256: "cc"}}, "link model-int8.tflite"},
		{"no model", full, runspec.Train, both, api.StateSucceeded, []runspec.Artifact{labels}, "email ada@example.org"},
		{"failed", full, runspec.Train, both, api.StateFailed, nil, "email ada@example.org"},
		{"cancelled", full, runspec.Train, both, api.StateCancelled, nil, "email ada@example.org"},
		{"failed, only a link wished", full, runspec.Train, share, api.StateFailed, nil, ""},
		{"not the end", full, runspec.Train, both, api.StateInterrupted, nil, ""},
		{"a prediction", full, runspec.Predict, both, api.StateSucceeded, []runspec.Artifact{h5}, ""},
		{"mail without Dropbox", noDropbox, runspec.Train, both, api.StateSucceeded, []runspec.Artifact{h5}, "email ada@example.org"},
		{"nothing configured", nothing, runspec.Train, share, api.StateSucceeded, []runspec.Artifact{h5}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.world)
			task := store.Task{ID: "r1", Owner: "alice", Kind: c.kind, Notify: c.wishes}
			plan := w.deliver.Plan(task, c.to, c.artifacts)
			var got []string
			for i, d := range plan {
				text := fmt.Sprintf("%s %s", d.Kind, d.Target)
				if d.Needs != "" {
					text += " after " + plan[0].Target
				}
				got = append(got, text)
				if d.Needs != "" && d.Needs != plan[0].Key {
					t.Errorf("it needs %s, want %s", d.Needs, plan[0].Key)
				}
				if again := w.deliver.Plan(task, c.to, c.artifacts)[i]; again.Key != d.Key || again.ID == d.ID {
					t.Errorf("planned twice: %+v and %+v, want the same key and another id", d, again)
				}
			}
			if strings.Join(got, ", ") != c.want {
				t.Errorf("got %q, want %q", strings.Join(got, ", "), c.want)
			}
		})
	}
}

func TestShare(t *testing.T) {
	for _, c := range []struct {
		name  string
		world settings
		to    api.State
		ask   api.ShareCreate
		want  string // rows, or a part of the error
		code  api.ErrorCode
	}{
		{"a link", settings{}, api.StateSucceeded, api.ShareCreate{}, "link", ""},
		{"and a mail", settings{}, api.StateSucceeded, api.ShareCreate{Email: toAda.Email}, "link email", ""},
		{"by name", settings{}, api.StateSucceeded, api.ShareCreate{Artifact: text("model.h5")}, "link", ""},
		{"no such file", settings{}, api.StateSucceeded, api.ShareCreate{Artifact: text("../db")}, `no file "../db"`, api.CodeNotFound},
		{"bad address", settings{}, api.StateSucceeded, api.ShareCreate{Email: text("ada")}, "not a mail address", api.CodeInvalid},
		{"header in the address", settings{}, api.StateSucceeded, api.ShareCreate{Email: text("a@b.c\r\nBcc: d@e.f")}, "not a mail address", api.CodeInvalid},
		{"failed", settings{}, api.StateFailed, api.ShareCreate{}, "has failed", api.CodeConflict},
		{"no mail", settings{noMail: true}, api.StateSucceeded, api.ShareCreate{Email: toAda.Email}, "cultivar download 1", api.CodeConflict},
		{"mail only", settings{noDropbox: true}, api.StateSucceeded, api.ShareCreate{Email: toAda.Email}, "email", ""},
		{"no Dropbox", settings{noDropbox: true}, api.StateSucceeded, api.ShareCreate{}, "cultivar download 1", api.CodeConflict},
		{"nothing", settings{noDropbox: true, noMail: true}, api.StateSucceeded, api.ShareCreate{}, "cultivar download 1", api.CodeConflict},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.world)
			w.ended("r1", c.to, api.Notify{}, 10)
			all, err := w.deliver.Share(t.Context(), delivertest.User, "r1", c.ask)
			if c.code != "" {
				if err == nil || api.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("got %v, want %s with %q", err, c.code, c.want)
				}
				return
			}
			var got []string
			for _, d := range all {
				got = append(got, string(d.Kind))
			}
			if err != nil || strings.Join(got, " ") != c.want {
				t.Fatalf("got %v, %v, want %s", got, err, c.want)
			}
			w.settle()
			again, err := w.deliver.Share(t.Context(), delivertest.User, "r1", c.ask)
			if err != nil || again[0].ID != all[0].ID || again[0].State != api.DeliveryDelivered {
				t.Fatalf("asked again: %+v, %v, want what there is", again, err)
			}
			w.settle()
			if n := len(w.inbox()); n > 1 {
				t.Fatalf("%d mails", n)
			}
		})
	}
	t.Run("of somebody else", func(t *testing.T) {
		w := newWorld(t, settings{})
		w.ended("r1", api.StateSucceeded, api.Notify{}, 10)
		if _, err := w.deliver.Share(t.Context(), "bob", "r1", api.ShareCreate{}); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("got %v, want not found", err)
		}
	})
}

func TestZeroValueDeliversNothing(t *testing.T) {
	var s deliver.Service
	if got := s.Plan(store.Task{Kind: runspec.Train, Notify: toAda}, api.StateSucceeded, nil); got != nil {
		t.Errorf("plans %+v", got)
	}
	if _, err := s.Share(t.Context(), "alice", "r1", api.ShareCreate{}); api.Code(err) != api.CodeConflict {
		t.Errorf("shares: %v", err)
	}
	if idle, err := s.Idle(t.Context()); !idle || err != nil {
		t.Errorf("is not idle: %v", err)
	}
}

func TestWrongSettings(t *testing.T) {
	good := config.Dropbox{AppKey: "k", AppSecretFile: "f", RefreshTokenFile: "f"}
	folder := good
	folder.Folder = "models/../.."
	for name, c := range map[string]config.Deliver{
		"no secrets":         {Dropbox: &config.Dropbox{AppKey: "k"}},
		"folder":             {Dropbox: &folder},
		"from":               {Mail: &config.Mail{From: "cultivar", SMTP: &config.SMTP{Host: "localhost"}}},
		"no way":             {Mail: &config.Mail{From: "a@b.c"}},
		"two ways":           {Mail: &config.Mail{From: "a@b.c", SMTP: &config.SMTP{Host: "localhost"}, SendGridFile: "f"}},
		"no host":            {Mail: &config.Mail{From: "a@b.c", SMTP: &config.SMTP{}}},
		"password in clear":  {Mail: &config.Mail{From: "a@b.c", SMTP: &config.SMTP{Host: "mail.example.org", TLS: "none", User: "u", PasswordFile: "f"}}},
		"tls":                {Mail: &config.Mail{From: "a@b.c", SMTP: &config.SMTP{Host: "localhost", TLS: "maybe"}}},
		"user, no password":  {Mail: &config.Mail{From: "a@b.c", SMTP: &config.SMTP{Host: "localhost", User: "u"}}},
		"two senders":        {Mail: &config.Mail{From: "a@b.c, d@e.f", SMTP: &config.SMTP{Host: "localhost"}}},
		"header in a sender": {Mail: &config.Mail{From: "a@b.c\r\nBcc: d@e.f", SMTP: &config.SMTP{Host: "localhost"}}},
	} {
		if _, err := deliver.New(deliver.Options{Config: c}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	s := deliver.Secret("canary")
	b, err := json.Marshal(map[string]any{"s": s})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "s", s)
	for _, shown := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s, s), string(b), log.String()} {
		if strings.Contains(shown, "canary") {
			t.Errorf("shows in %s", shown)
		}
	}
}
