package store

import (
	"database/sql"
	"errors"
)

// ErrNotFound says that there is no such row, or not this user's.
var ErrNotFound = errors.New("not found")

// ErrConflict says that the row is no longer what the caller took it for.
var ErrConflict = errors.New("changed in the meantime")

// ErrOtherExecutor says that another executor owns the attempt.
var ErrOtherExecutor = errors.New("another executor owns this attempt")

// ErrEnded says that the attempt has ended and takes no more records.
var ErrEnded = errors.New("the attempt has ended")

func translate(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}
