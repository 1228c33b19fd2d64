package ingest

import (
	"context"
	"errors"

	"github.com/dustin/go-humanize"

	"github.com/cultivar-ml/cultivar/server/internal/failpoint"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Usage is what a user has, and how many bytes they may have; 0: as many as there is room for.
func (s *Service) Usage(ctx context.Context, user string) (u store.Usage, quota int64, err error) {
	u, err = s.store.Usage(ctx, user)
	return u, s.quota, err
}

// allowed refuses what a user may not send beside what they have.
func (s *Service) allowed(ctx context.Context, user string, need int64) error {
	if s.quota == 0 {
		return nil
	}
	u, err := s.store.Usage(ctx, user)
	if err != nil {
		return err
	}
	if u.Bytes+need > s.quota {
		return api.Errorf(api.CodeTooLarge, "You may keep %s of photos on this server and have %s, so another %s do not fit. Delete datasets that you no longer need, or ask the server's admin for more.",
			size(s.quota), size(u.Bytes), size(need))
	}
	return nil
}

func size(bytes int64) string { return humanize.IBytes(uint64(max(bytes, 0))) }

// Forget deletes everything of a user: photos, runs with their results, and what was computed of them. Tokens stay.
func (s *Service) Forget(ctx context.Context, user string) error {
	s.packs.Lock()
	defer s.packs.Unlock()
	err := s.store.DeleteEverything(ctx, user)
	if errors.Is(err, store.ErrConflict) {
		return api.Errorf(api.CodeConflict, "A training of yours has not ended. Cancel it first, or wait for it.")
	}
	if err != nil {
		return err
	}
	failpoint.Hit("ingest.forgotten")
	// Rows first: a crash here leaves files that nothing names, which are removed as such.
	return s.volume.Remove(runspec.UserDir(user))
}
