package store_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// stocked has something of everything of alice's: a ready dataset in a pack, an upload, a run that has ended with a file and
// a mail, a run under way, and an old plan.
func stocked(t *testing.T) *store.Store {
	t.Helper()
	s, ctx := open(t), t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d, _, err := s.AddDataset(ctx, store.Dataset{ID: "d", Owner: "alice", Name: "d", Digest: "digest", Images: 1, Bytes: 1})
	check(err)
	check(s.AddPack(ctx, "alice", "pack", 10, []store.Blob{{SHA256: "blob", Pack: "pack", Length: 1}}))
	check(s.FinishDataset(ctx, "alice", d.ID, nil, 1, 1, []string{"pack"}))
	check(s.AddUpload(ctx, store.Upload{ID: "upload", Owner: "alice", Kind: "pack", Size: 10, Received: 5, Expires: time.Now().Add(time.Hour)}))
	for _, id := range []string{"done", "open", "plan"} {
		task := store.Task{ID: id, Owner: "alice", Kind: runspec.Train, Dataset: d.ID, Digest: "digest", Recipe: runspec.Default(runspec.Quick)}
		if id == "plan" {
			task.Kind = runspec.Planning
		}
		_, err := s.AddTask(ctx, task)
		check(err)
		if id == "open" {
			continue
		}
		check(s.Change(ctx, store.Change{Task: id, From: api.StateQueued, To: api.StateStarting, TokenHash: "h"}))
		check(s.Register(ctx, id, 1, "x"))
		check(s.Change(ctx, store.Change{Task: id, From: api.StateStarting, To: api.StateRunning}))
		check(s.Change(ctx, store.Change{Task: id, From: api.StateRunning, To: api.StateSucceeded, Terminal: true,
			Outcome:    &store.Outcome{Attempt: 1, Executor: "x", Artifacts: []runspec.Artifact{{Name: "model.h5", SHA256: "s", Bytes: 1}}},
			Deliveries: []store.Delivery{{ID: "mail-" + id, Owner: "alice", Task: id, Kind: api.DeliveryEmail, Key: id}}}))
	}
	check(s.Pin(ctx, "alice", store.Pin{Dataset: "d", Label: "shop", Task: "done"}))
	return s
}

// asks calls each method that takes a user for something of alice's. The error is that of the method, or nothing found.
var asks = map[string]func(s *store.Store, t *testing.T, user string) error{
	"Artifacts": func(s *store.Store, t *testing.T, user string) error {
		return found(s.Artifacts(t.Context(), user, "done"))
	},
	"Blobs": func(s *store.Store, t *testing.T, user string) error {
		return found(s.Blobs(t.Context(), user, []string{"blob"}))
	},
	"AskStop":   func(s *store.Store, t *testing.T, user string) error { return s.AskStop(t.Context(), user, "open") },
	"AskCancel": func(s *store.Store, t *testing.T, user string) error { return s.AskCancel(t.Context(), user, "open") },
	"Dataset":   func(s *store.Store, t *testing.T, user string) error { return found(s.Dataset(t.Context(), user, "d")) },
	"DatasetByDigest": func(s *store.Store, t *testing.T, user string) error {
		return found(s.DatasetByDigest(t.Context(), user, "digest"))
	},
	"Datasets": func(s *store.Store, t *testing.T, user string) error {
		return found(s.Datasets(t.Context(), user, store.Page{Limit: 9}))
	},
	"FinishDataset": func(s *store.Store, t *testing.T, user string) error {
		return s.FinishDataset(t.Context(), user, "d", nil, 1, 1, []string{"pack"})
	},
	"Deliveries": func(s *store.Store, t *testing.T, user string) error {
		return found(s.Deliveries(t.Context(), user, "done"))
	},
	"RetryDelivery": func(s *store.Store, t *testing.T, user string) error {
		return found(s.RetryDelivery(t.Context(), user, "done", "mail-done"))
	},
	"Events": func(s *store.Store, t *testing.T, user string) error {
		return found(s.Events(t.Context(), user, "done", 0, 9))
	},
	"EventsOf": func(s *store.Store, t *testing.T, user string) error {
		return found(s.EventsOf(t.Context(), user, "done", runspec.TypeState))
	},
	"Task": func(s *store.Store, t *testing.T, user string) error { return found(s.Task(t.Context(), user, "done")) },
	"Run":  func(s *store.Store, t *testing.T, user string) error { return found(s.Run(t.Context(), user, "done")) },
	"RunByNumber": func(s *store.Store, t *testing.T, user string) error {
		return found(s.RunByNumber(t.Context(), user, 1))
	},
	"Runs": func(s *store.Store, t *testing.T, user string) error {
		return found(s.Runs(t.Context(), user, store.Page{Limit: 9}))
	},
	"Ended": func(s *store.Store, t *testing.T, user string) error {
		return found(s.Ended(t.Context(), user, "digest"))
	},
	"HasTask": func(s *store.Store, t *testing.T, user string) error {
		return found(s.HasTask(t.Context(), user, "done"))
	},
	"Upload": func(s *store.Store, t *testing.T, user string) error {
		return found(s.Upload(t.Context(), user, "upload"))
	},
	"AdvanceUpload": func(s *store.Store, t *testing.T, user string) error {
		return s.AdvanceUpload(t.Context(), user, "upload", 6, time.Now().Add(time.Hour))
	},
	"FinishUpload": func(s *store.Store, t *testing.T, user string) error {
		return s.FinishUpload(t.Context(), user, "upload")
	},
	"DeletePlans": func(s *store.Store, t *testing.T, user string) error {
		return found(s.DeletePlans(t.Context(), user, time.Now().Add(time.Hour)))
	},
	"DeleteRun": func(s *store.Store, t *testing.T, user string) error {
		return found(s.DeleteRun(t.Context(), user, "done"))
	},
	"DeleteUpload": func(s *store.Store, t *testing.T, user string) error { // what is absent is no error
		_, before := s.Upload(t.Context(), "alice", "upload")
		err := s.DeleteUpload(t.Context(), user, "upload")
		if _, after := s.Upload(t.Context(), "alice", "upload"); err == nil && (before == nil) == (after == nil) {
			return store.ErrNotFound
		}
		return err
	},
	"DeleteDataset": func(s *store.Store, t *testing.T, user string) error {
		return found(s.DeleteDataset(t.Context(), user, "d"))
	},
	"BestRun": func(s *store.Store, t *testing.T, user string) error {
		return found(s.BestRun(t.Context(), user, ""))
	},
	"LatestRun": func(s *store.Store, t *testing.T, user string) error {
		return found(s.LatestRun(t.Context(), user, ""))
	},
	"Pin": func(s *store.Store, t *testing.T, user string) error {
		return s.Pin(t.Context(), user, store.Pin{Dataset: "d", Label: "other", Task: "done"})
	},
	"PinnedRun": func(s *store.Store, t *testing.T, user string) error {
		return found(s.PinnedRun(t.Context(), user, "d", "shop"))
	},
	"Unpin": func(s *store.Store, t *testing.T, user string) error { return s.Unpin(t.Context(), user, "d", "shop") },
	"Pins":  func(s *store.Store, t *testing.T, user string) error { return found(s.Pins(t.Context(), user)) },
	"ModelNames": func(s *store.Store, t *testing.T, user string) error {
		return found(s.ModelNames(t.Context(), user))
	},
	"Usage": func(s *store.Store, t *testing.T, user string) error {
		u, err := s.Usage(t.Context(), user)
		return found(u != store.Usage{}, err)
	},
	"DeleteEverything": func(s *store.Store, t *testing.T, user string) error {
		before, err := s.Usage(t.Context(), "alice")
		if err == nil {
			_ = s.AskCancel(t.Context(), user, "open")
			if err = s.Change(t.Context(), store.Change{Task: "open", From: api.StateQueued, To: api.StateCancelled, Terminal: true}); errors.Is(err, store.ErrConflict) {
				err = nil // alice's turn, which is the second one
			}
		}
		if err == nil {
			err = s.DeleteEverything(t.Context(), user)
		}
		after, _ := s.Usage(t.Context(), "alice")
		return found(before != after, err)
	},
	"Tokens": func(s *store.Store, t *testing.T, user string) error { return found(s.Tokens(t.Context(), user)) },
	// A pack is added for whoever asks.
	"AddPack": func(s *store.Store, t *testing.T, user string) error {
		err := s.AddPack(t.Context(), user, "pack", 10, []store.Blob{{SHA256: "blob", Pack: "pack", Length: 1}})
		if err == nil && user != "alice" {
			return s.Ping(t.Context()) // it worked, for bob
		}
		return err
	},
}

// found is the error of a method, or that it found nothing.
func found(v any, err error) error {
	if r := reflect.ValueOf(v); err == nil && (r.Kind() == reflect.Slice || r.Kind() == reflect.Map) && r.Len() == 0 || v == false {
		return store.ErrNotFound
	}
	return err
}

func TestOwnersAreApart(t *testing.T) {
	for _, name := range takingUsers(t) {
		ask, known := asks[name]
		if !known {
			t.Errorf("%s takes a user and is not asked by this test", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := stocked(t)
			if _, err := s.AddToken(t.Context(), store.Token{ID: "token", Owner: "alice", Name: "x", Expires: time.Now().Add(time.Hour)}, "hash"); err != nil {
				t.Fatal(err)
			}
			if err := ask(s, t, "bob"); name != "AddPack" && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
				t.Errorf("somebody else's: %v", err)
			}
			if name == "DeleteDataset" { // of its owner's only when nothing is under way
				return
			}
			if err := ask(s, t, "alice"); err != nil {
				t.Errorf("her own, after somebody else has asked: %v", err)
			}
		})
	}
}

// takingUsers lists the store's exported methods that take a user.
func takingUsers(t *testing.T) (names []string) {
	t.Helper()
	packages, err := parser.ParseDir(token.NewFileSet(), ".", func(i fs.FileInfo) bool { return !strings.HasSuffix(i.Name(), "_test.go") }, 0) //nolint:staticcheck // no build tags here
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		for _, file := range p.Files {
			for _, decl := range file.Decls {
				f, ok := decl.(*ast.FuncDecl)
				if !ok || f.Recv == nil || !f.Name.IsExported() {
					continue
				}
				for _, param := range f.Type.Params.List {
					if len(param.Names) > 0 && param.Names[0].Name == "user" && fmt.Sprint(param.Type) == "string" {
						names = append(names, f.Name.Name)
					}
				}
			}
		}
	}
	if len(names) < 20 {
		t.Fatalf("methods that take a user: %q", names)
	}
	return names
}

// Two users who have sent the same photos have packs of the same name: what one gives up stays the other's.
func TestSamePacksAreApart(t *testing.T) {
	both := func(t *testing.T) *store.Store {
		t.Helper()
		s := open(t)
		for _, user := range []string{"alice", "bob"} {
			if err := s.AddPack(t.Context(), user, "pack", 10, []store.Blob{{SHA256: "blob", Pack: "pack", Length: 1}}); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	named := func(t *testing.T, s *store.Store, user string) {
		t.Helper()
		d, _, err := s.AddDataset(t.Context(), store.Dataset{ID: "d-" + user, Owner: user, Name: "d", Digest: "digest", Images: 1, Bytes: 1})
		if err == nil {
			err = s.FinishDataset(t.Context(), user, d.ID, nil, 1, 1, []string{"pack"})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	bobs := func(t *testing.T, s *store.Store) {
		t.Helper()
		if blobs, err := s.Blobs(t.Context(), "bob", []string{"blob"}); err != nil || len(blobs) != 1 {
			t.Errorf("bob's image: %v, %v", blobs, err)
		}
		if blobs, err := s.Blobs(t.Context(), "alice", []string{"blob"}); err != nil || len(blobs) != 0 {
			t.Errorf("alice's image: %v, %v", blobs, err)
		}
		if wrong, err := s.Contradictions(t.Context()); err != nil || len(wrong) > 0 {
			t.Errorf("%+v, %v", wrong, err)
		}
	}
	t.Run("a dataset deleted", func(t *testing.T) {
		s := both(t)
		named(t, s, "alice")
		named(t, s, "bob")
		if packs, err := s.DeleteDataset(t.Context(), "alice", "d-alice"); err != nil || len(packs) != 1 {
			t.Fatalf("%q, %v", packs, err)
		}
		bobs(t, s)
	})
	t.Run("a pack of no dataset", func(t *testing.T) {
		s := both(t)
		named(t, s, "bob")
		packs, err := s.DropUnnamedPacks(t.Context(), time.Now().Add(time.Hour))
		if err != nil || len(packs) != 1 || packs[0].Owner != "alice" {
			t.Fatalf("%+v, %v", packs, err)
		}
		bobs(t, s)
	})
	t.Run("a pack of somebody else's", func(t *testing.T) {
		s := open(t)
		if err := s.AddPack(t.Context(), "alice", "pack", 10, nil); err != nil {
			t.Fatal(err)
		}
		d, _, err := s.AddDataset(t.Context(), store.Dataset{ID: "d", Owner: "bob", Name: "d", Digest: "digest", Images: 1, Bytes: 1})
		if err == nil {
			err = s.FinishDataset(t.Context(), "bob", d.ID, nil, 1, 1, []string{"pack"})
		}
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("a dataset in it: %v", err)
		}
	})
}
