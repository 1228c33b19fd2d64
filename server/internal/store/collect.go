package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
)

// DropReceiving forgets datasets of all users that were announced before then and have not arrived.
func (s *Store) DropReceiving(ctx context.Context, before time.Time) error {
	return s.tx(ctx, "forget datasets that never arrived", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM datasets WHERE state = $1 AND created < $2", api.DatasetReceiving, micros(before))
		return err
	})
}

// DropUnnamedPacks forgets packs, with their images, that came before then and lie in no dataset, and returns them. Those of a
// user who has a dataset on its way stay: its manifest comes last.
func (s *Store) DropUnnamedPacks(ctx context.Context, before time.Time) (dropped []Pack, err error) {
	err = s.tx(ctx, "forget packs of no dataset", func(tx *sql.Tx) error {
		err := rows(ctx, tx, `SELECT p.owner, p.hash, p.bytes FROM packs p WHERE p.created < $1
			AND NOT EXISTS (SELECT 1 FROM dataset_packs d WHERE d.owner = p.owner AND d.pack = p.hash)
			AND NOT EXISTS (SELECT 1 FROM datasets r WHERE r.owner = p.owner AND r.state = $2)`,
			[]any{micros(before), api.DatasetReceiving}, func(r *sql.Rows) error {
				var p Pack
				err := r.Scan(&p.Owner, &p.Hash, &p.Bytes)
				dropped = append(dropped, p)
				return err
			})
		if err != nil {
			return err
		}
		for _, p := range dropped {
			for _, q := range []string{"DELETE FROM blobs WHERE owner = $1 AND pack = $2", "DELETE FROM packs WHERE owner = $1 AND hash = $2"} {
				if _, err := tx.ExecContext(ctx, q, p.Owner, p.Hash); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return dropped, err
}
