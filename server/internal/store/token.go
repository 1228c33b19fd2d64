package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Token is what is kept of a person's token: everything but the token.
type Token struct {
	ID       string
	Owner    string
	Name     string // what it is for, in its owner's words
	Scopes   string // separated by spaces
	Created  time.Time
	Expires  time.Time
	LastUsed *time.Time // to the minute
	Revoked  *time.Time
}

// useEvery is how often the use of a token is written, at most.
const useEvery = time.Minute

const tokenColumns = "id, owner, name, scopes, created, expires, last_used, revoked"

func scanToken(row scanner) (Token, error) {
	var t Token
	var created, expires int64
	var used, revoked sql.NullInt64
	if err := row.Scan(&t.ID, &t.Owner, &t.Name, &t.Scopes, &created, &expires, &used, &revoked); err != nil {
		return Token{}, translate(err)
	}
	t.Created, t.Expires, t.LastUsed, t.Revoked = fromMicros(created), fromMicros(expires), nullTime(used), nullTime(revoked)
	return t, nil
}

// AddToken stores a token by the hash of its text.
func (s *Store) AddToken(ctx context.Context, t Token, hash string) (Token, error) {
	t.Created = fromMicros(micros(s.now()))
	t.Expires = fromMicros(micros(t.Expires))
	_, err := s.write.ExecContext(ctx, "INSERT INTO tokens (id, owner, name, hash, scopes, created, expires) VALUES ($1, $2, $3, $4, $5, $6, $7)",
		t.ID, t.Owner, t.Name, hash, t.Scopes, micros(t.Created), micros(t.Expires))
	if err != nil {
		return Token{}, fmt.Errorf("add token: %w", err)
	}
	return t, nil
}

// TokenByHash returns the token whose text has this hash, ended ones too. It always asks the database, so that a
// revocation by any process counts for the next request.
func (s *Store) TokenByHash(ctx context.Context, hash string) (Token, error) {
	t, err := scanToken(s.read.QueryRowContext(ctx, "SELECT "+tokenColumns+" FROM tokens WHERE hash = $1", hash))
	if err != nil {
		return Token{}, fmt.Errorf("find token: %w", err)
	}
	return t, nil
}

// UseToken notes that a token was shown now. It writes at most once a minute for each.
func (s *Store) UseToken(ctx context.Context, t Token) error {
	now := s.now()
	if t.LastUsed != nil && now.Sub(*t.LastUsed) < useEvery {
		return nil
	}
	_, err := s.write.ExecContext(ctx, "UPDATE tokens SET last_used = $1 WHERE id = $2 AND (last_used IS NULL OR last_used <= $3)",
		micros(now), t.ID, micros(now.Add(-useEvery)))
	if err != nil {
		return fmt.Errorf("note the use of a token: %w", err)
	}
	return nil
}

// Tokens lists a user's tokens, or everybody's for an empty user, newest first, ended ones too. It is for the admin.
func (s *Store) Tokens(ctx context.Context, user string) ([]Token, error) {
	out := []Token{}
	err := rows(ctx, s.read, "SELECT "+tokenColumns+" FROM tokens WHERE $1 IN ('', owner) ORDER BY created DESC, id", []any{user}, func(r *sql.Rows) error {
		t, err := scanToken(r)
		out = append(out, t)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	return out, nil
}

// RevokeToken ends a token for good; doing it again changes nothing. It is for the admin. ErrNotFound: there is no such token.
func (s *Store) RevokeToken(ctx context.Context, id string) (Token, error) {
	var t Token
	err := s.tx(ctx, "revoke token", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE tokens SET revoked = $1 WHERE id = $2 AND revoked IS NULL", micros(s.now()), id)
		if err != nil {
			return err
		}
		t, err = scanToken(tx.QueryRowContext(ctx, "SELECT "+tokenColumns+" FROM tokens WHERE id = $1", id))
		return err
	})
	return t, err
}
