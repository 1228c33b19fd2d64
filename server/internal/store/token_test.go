package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/store"
)

func TestTokens(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "test.db")
	open := func() *store.Store {
		s, err := store.Open(t.Context(), path, func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	server, admin := open(), open() // a second process opens the database of a running server
	add := func(id, user string) {
		t.Helper()
		if _, err := admin.AddToken(t.Context(), store.Token{ID: id, Owner: user, Name: "laptop", Scopes: "read train", Expires: now.Add(time.Hour)}, "hash-"+id); err != nil {
			t.Fatal(err)
		}
	}
	add("1", "ada")
	now = now.Add(time.Second)
	add("2", "bob")
	got, err := server.TokenByHash(t.Context(), "hash-1")
	if err != nil || got.ID != "1" || got.Owner != "ada" || got.Name != "laptop" || got.Scopes != "read train" || !got.Expires.Equal(now.Add(time.Hour-time.Second)) || got.LastUsed != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := server.TokenByHash(t.Context(), "1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("by another text: %v", err)
	}
	if _, err := admin.AddToken(t.Context(), store.Token{ID: "3", Expires: now}, "hash-1"); err == nil {
		t.Error("two tokens of one hash")
	}
	used := func() time.Time {
		t.Helper()
		if err := server.UseToken(t.Context(), got); err != nil {
			t.Fatal(err)
		}
		if got, err = server.TokenByHash(t.Context(), "hash-1"); err != nil || got.LastUsed == nil {
			t.Fatal(got, err)
		}
		return *got.LastUsed
	}
	first := used()
	now = now.Add(59 * time.Second)
	if second := used(); !second.Equal(first) {
		t.Errorf("written again after 59 s")
	}
	now = now.Add(time.Second)
	if third := used(); !third.Equal(now) {
		t.Errorf("not written after a minute: %v", third)
	}
	if all, err := admin.Tokens(t.Context(), ""); err != nil || len(all) != 2 || all[0].ID != "2" {
		t.Errorf("all: %+v, %v", all, err)
	}
	if all, err := admin.Tokens(t.Context(), "ada"); err != nil || len(all) != 1 || all[0].ID != "1" {
		t.Errorf("ada's: %+v, %v", all, err)
	}
	revoked, err := admin.RevokeToken(t.Context(), "1")
	if err != nil || revoked.Revoked == nil {
		t.Fatal(revoked, err)
	}
	if got, err := server.TokenByHash(t.Context(), "hash-1"); err != nil || got.Revoked == nil {
		t.Errorf("the server does not see the revocation at once: %+v, %v", got, err)
	}
	when := *revoked.Revoked
	now = now.Add(time.Hour)
	if again, err := admin.RevokeToken(t.Context(), "1"); err != nil || !again.Revoked.Equal(when) {
		t.Errorf("revoked twice: %+v, %v", again, err)
	}
	if _, err := admin.RevokeToken(t.Context(), "none"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("revoke nothing: %v", err)
	}
	for _, file := range []string{path, path + "-wal"} {
		if b, _ := os.ReadFile(file); bytes.Contains(b, []byte("cv_")) {
			t.Errorf("%s has a token in it", file)
		}
	}
}
