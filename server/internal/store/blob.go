package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
)

// Blob is where the bytes of an image lie.
type Blob struct {
	SHA256 string // hex
	Pack   string // hex name
	Start  int64  // bytes from the start of the pack
	Length int64
}

// blobsAStatement keeps statements under SQLite's limit of variables with room to spare.
const blobsAStatement = 500

// AddPack stores a pack and its images, which are durable already. An image that the user has in another pack stays
// there. Doing it again is no error.
func (s *Store) AddPack(ctx context.Context, user, hash string, bytes int64, blobs []Blob) error {
	return s.tx(ctx, "add pack", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO packs (owner, hash, bytes, created) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
			user, hash, bytes, micros(s.now()))
		if err != nil {
			return err
		}
		stmt, err := tx.PrepareContext(ctx, "INSERT INTO blobs (owner, sha256, pack, start, length) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING")
		if err != nil {
			return err
		}
		defer func() { _ = stmt.Close() }()
		for _, b := range blobs {
			if _, err := stmt.ExecContext(ctx, user, b.SHA256, hash, b.Start, b.Length); err != nil {
				return err
			}
		}
		return nil
	})
}

// Blobs looks up images of a user by SHA-256; those that the user does not have are absent from the answer.
func (s *Store) Blobs(ctx context.Context, user string, hashes []string) (map[string]Blob, error) {
	out := make(map[string]Blob, len(hashes))
	for len(hashes) > 0 {
		n := min(blobsAStatement, len(hashes))
		args := []any{user}
		var list []string
		for i, h := range hashes[:n] {
			args = append(args, h)
			list = append(list, "$"+strconv.Itoa(i+2))
		}
		hashes = hashes[n:]
		err := rows(ctx, s.read, "SELECT sha256, pack, start, length FROM blobs WHERE owner = $1 AND sha256 IN ("+strings.Join(list, ", ")+")",
			args, func(r *sql.Rows) error {
				var b Blob
				err := r.Scan(&b.SHA256, &b.Pack, &b.Start, &b.Length)
				out[b.SHA256] = b
				return err
			})
		if err != nil {
			return nil, fmt.Errorf("look up images: %w", err)
		}
	}
	return out, nil
}
