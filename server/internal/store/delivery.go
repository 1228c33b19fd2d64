package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
)

// Delivery is a row of the outbox: something that must reach a person.
type Delivery struct {
	ID, Owner, Task string
	Kind            api.DeliveryKind
	Target          string // address of a mail, file of a link
	Artifact        string // file a link leads to; empty: none
	SHA256          string // of that file
	Needs           string // key of the delivery that must be delivered or failed first; empty: none
	Key             string // same effect, same key: a second row with it is not added
	State           api.DeliveryState
	Attempts        int       // since somebody asked for it
	Since           time.Time // of the first of them
	Due             time.Time // when to try next
	Leased          time.Time // until when the row is somebody's, while sending
	Progress        string    // JSON, the kind's own: where to resume; empty: nothing done
	URL             string
	Expires         *time.Time
	Reason          string
	Created         time.Time
	Updated         time.Time
}

const deliveryColumns = `id, owner, task, kind, target, artifact, sha256, needs, key, state, attempts, since, due, leased,
	progress, url, expires, reason, created, updated`

func scanDelivery(row scanner) (Delivery, error) {
	var d Delivery
	var since, due, leased, created, updated int64
	var expires sql.NullInt64
	err := row.Scan(&d.ID, &d.Owner, &d.Task, &d.Kind, &d.Target, &d.Artifact, &d.SHA256, &d.Needs, &d.Key, &d.State, &d.Attempts, &since, &due, &leased,
		&d.Progress, &d.URL, &expires, &d.Reason, &created, &updated)
	if err != nil {
		return Delivery{}, translate(err)
	}
	d.Since, d.Due, d.Leased, d.Expires = fromMicros(since), fromMicros(due), fromMicros(leased), nullTime(expires)
	d.Created, d.Updated = fromMicros(created), fromMicros(updated)
	return d, nil
}

// addDelivery adds a row in the transaction that makes it due. A row with the same key stands for the same effect, and
// is left as it is.
func (s *Store) addDelivery(ctx context.Context, tx *sql.Tx, d Delivery) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO deliveries (id, owner, task, kind, target, artifact, sha256, needs, key, state, attempts, since, due, leased,
		progress, url, reason, created, updated) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11, $11, 0, '', '', '', $11, $11)
		ON CONFLICT (key) DO NOTHING`,
		d.ID, d.Owner, d.Task, d.Kind, d.Target, d.Artifact, d.SHA256, d.Needs, d.Key, api.DeliveryWaiting, micros(s.now()))
	return err
}

// ready is the condition under which a row may be taken up: nobody is at it, and what it needs has come to an end.
const ready = `kind = $1 AND state IN ('waiting', 'sending')
	AND NOT EXISTS (SELECT 1 FROM deliveries n WHERE n.key = deliveries.needs AND n.state IN ('waiting', 'sending'))`

// when is the moment from which on a row may be taken up: a waiting one when it is due, one being sent when its lease ends.
const when = `(CASE state WHEN 'waiting' THEN due ELSE leased END)`

// again makes a row that waits or was given up due now, as if it had just been asked for.
const again = `UPDATE deliveries SET state = 'waiting', attempts = 0, due = $1, leased = 0, progress = '', reason = '', updated = $1 `

// Share adds deliveries that a user asks for, in one transaction, and returns the rows with their keys. Where a row with
// the same key was given up, or leads to a link that has ended, it is made due again.
func (s *Store) Share(ctx context.Context, all []Delivery) ([]Delivery, error) {
	out := make([]Delivery, len(all))
	err := s.tx(ctx, "add deliveries", func(tx *sql.Tx) error {
		for i, d := range all {
			if err := s.addDelivery(ctx, tx, d); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, again+`, url = '', expires = NULL WHERE key = $2 AND owner = $3
				AND (state = 'failed' OR state = 'delivered' AND kind = 'link' AND expires <= $1)`, micros(s.now()), d.Key, d.Owner)
			if err != nil {
				return err
			}
			out[i], err = scanDelivery(tx.QueryRowContext(ctx, "SELECT "+deliveryColumns+" FROM deliveries WHERE key = $1 AND owner = $2", d.Key, d.Owner))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Deliveries lists those of a user's task, oldest first.
func (s *Store) Deliveries(ctx context.Context, user, task string) ([]Delivery, error) {
	var out []Delivery
	err := rows(ctx, s.read, "SELECT "+deliveryColumns+" FROM deliveries WHERE owner = $1 AND task = $2 ORDER BY created, kind DESC, id", []any{user, task},
		func(r *sql.Rows) error {
			d, err := scanDelivery(r)
			out = append(out, d)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	return out, nil
}

// RetryDelivery makes a delivery of a user's task due now when it waits or was given up, and returns it. One that is
// delivered or being sent is left as it is.
func (s *Store) RetryDelivery(ctx context.Context, user, task, id string) (d Delivery, err error) {
	err = s.tx(ctx, "retry delivery", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, again+"WHERE owner = $2 AND task = $3 AND id = $4 AND state = 'failed'", micros(s.now()), user, task, id)
		if err != nil {
			return err
		}
		// One that waits keeps its progress: an upload goes on where it stopped.
		_, err = tx.ExecContext(ctx, "UPDATE deliveries SET due = $1, attempts = 0, updated = $1 WHERE owner = $2 AND task = $3 AND id = $4 AND state = 'waiting'",
			micros(s.now()), user, task, id)
		if err != nil {
			return err
		}
		d, err = scanDelivery(tx.QueryRowContext(ctx, "SELECT "+deliveryColumns+" FROM deliveries WHERE owner = $1 AND task = $2 AND id = $3", user, task, id))
		return err
	})
	return d, err
}

// DeliveryByKey returns any user's delivery, for the outbox's worker.
func (s *Store) DeliveryByKey(ctx context.Context, key string) (Delivery, error) {
	d, err := scanDelivery(s.read.QueryRowContext(ctx, "SELECT "+deliveryColumns+" FROM deliveries WHERE key = $1", key))
	if err != nil {
		return Delivery{}, fmt.Errorf("get delivery: %w", err)
	}
	return d, nil
}

// OpenDeliveries counts all users' deliveries that are neither delivered nor given up.
func (s *Store) OpenDeliveries(ctx context.Context) (n int, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT COUNT(*) FROM deliveries WHERE state IN ('waiting', 'sending')").Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count deliveries: %w", err)
	}
	return n, nil
}

// NextDelivery tells when the next row of a kind may be taken up; ok is false when none waits.
func (s *Store) NextDelivery(ctx context.Context, kind api.DeliveryKind) (at time.Time, ok bool, err error) {
	var us sql.NullInt64
	if err := s.read.QueryRowContext(ctx, "SELECT MIN("+when+") FROM deliveries WHERE "+ready, kind).Scan(&us); err != nil {
		return time.Time{}, false, fmt.Errorf("find the next delivery: %w", err)
	}
	return fromMicros(us.Int64), us.Valid, nil
}

// LeaseDelivery takes up the longest due row of a kind until a moment; until then nobody else gets it. It answers
// ErrNotFound when none is due. A row whose lease ended comes again with the progress that was kept.
func (s *Store) LeaseDelivery(ctx context.Context, kind api.DeliveryKind, until time.Time) (Delivery, error) {
	// A user's retry sets attempts to 0, and with it what a day is counted from.
	d, err := scanDelivery(s.write.QueryRowContext(ctx, `UPDATE deliveries SET state = 'sending', leased = $2, updated = $3,
		since = CASE attempts WHEN 0 THEN $3 ELSE since END, attempts = attempts + 1
		WHERE id = (SELECT id FROM deliveries WHERE `+ready+" AND "+when+" <= $3 ORDER BY "+when+", id LIMIT 1) RETURNING "+deliveryColumns,
		kind, micros(until), micros(s.now())))
	if err != nil {
		return Delivery{}, fmt.Errorf("lease delivery: %w", err)
	}
	return d, nil
}

// KeepDelivery stores what became of a leased row: is's state, due, lease, progress, link and reason. It answers
// ErrConflict when the lease, by its end in was, is no longer the caller's.
func (s *Store) KeepDelivery(ctx context.Context, was, is Delivery) error {
	var expires *int64
	if is.Expires != nil {
		us := micros(*is.Expires)
		expires = &us
	}
	err := one(s.write.ExecContext(ctx, `UPDATE deliveries SET state = $1, due = $2, leased = $3, progress = $4, url = $5, expires = $6, reason = $7, updated = $8
		WHERE id = $9 AND state = 'sending' AND leased = $10`,
		is.State, micros(is.Due), micros(is.Leased), is.Progress, is.URL, expires, is.Reason, micros(s.now()), was.ID, micros(was.Leased)))
	if errors.Is(err, ErrConflict) {
		return ErrConflict
	}
	if err != nil {
		return fmt.Errorf("keep delivery: %w", err)
	}
	return nil
}
