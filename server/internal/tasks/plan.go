package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// photosFile is where a plan for photos that are not here keeps what was said of them, until it is launched.
const photosFile = "photos.json"

// planKept is how long a plan is kept after its end: whoever asked for it has read it by then.
const planKept = time.Hour

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Plan queues the question what a training would take. Its answer is in the task's events.
func (s *Service) Plan(ctx context.Context, user string, c api.PlanCreate) (store.Task, error) {
	recipe, err := s.asked(c.Recipe)
	if err != nil {
		return store.Task{}, err
	}
	if err := s.checkWishes(api.RunCreate{Profile: c.Profile}); err != nil {
		return store.Task{}, err
	}
	if err := s.resolveStart(ctx, user, &recipe); err != nil {
		return store.Task{}, err
	}
	s.forgetPlans(ctx, user)
	t := store.Task{ID: auth.NewID(), Owner: user, Kind: runspec.Planning, Name: "plan", Recipe: recipe}
	if c.Profile != nil {
		t.Profile = *c.Profile
	}
	d, known, err := s.plannedFor(ctx, user, c)
	if err != nil {
		return store.Task{}, err
	}
	if known {
		if err := s.settleTeacher(ctx, user, &t.Recipe, classNames(d)); err != nil {
			return store.Task{}, err
		}
		t.Name, t.Dataset, t.DatasetName, t.Digest, t.Classes = d.Name, d.ID, d.Name, d.Digest, classNames(d)
		return s.add(ctx, t)
	}
	content, err := json.Marshal(runspec.Photos{Images: c.Photos.Images, Known: c.Photos.KnownImages, Bytes: c.Photos.Bytes, Classes: c.Photos.Classes})
	if err == nil {
		err = s.volume.WriteBytes(path.Join(runspec.TaskDir(user, t.ID), photosFile), files.FileMode, content)
	}
	if err == nil {
		t, err = s.add(ctx, t)
	}
	if err != nil {
		return store.Task{}, errors.Join(err, s.volume.Remove(runspec.TaskDir(user, t.ID)))
	}
	return t, nil
}

// plannedFor is the dataset that a plan is asked for; known is false when there are only numbers.
func (s *Service) plannedFor(ctx context.Context, user string, c api.PlanCreate) (d store.Dataset, known bool, err error) {
	switch {
	case (c.Dataset == nil) == (c.Photos == nil):
		return d, false, api.Errorf(api.CodeInvalid, "Give either a dataset or a description of photos to plan for.")
	case c.Dataset != nil:
		d, err = s.trainable(ctx, user, *c.Dataset)
		return d, true, err
	}
	if err := checkPhotos(*c.Photos); err != nil {
		return d, false, err
	}
	d, err = s.store.DatasetByDigest(ctx, user, c.Photos.Digest)
	if errors.Is(err, store.ErrNotFound) {
		return d, false, nil
	}
	return d, err == nil && d.State == api.DatasetReady && len(d.Classes) >= manifest.MinClasses, err
}

func checkPhotos(p api.Photos) error {
	switch {
	case !digestForm.MatchString(p.Digest):
		return invalidField("photos.digest", "is no SHA-256 in lower-case hex")
	case p.Images < 1 || p.Images > manifest.MaxFiles:
		return invalidField("photos.images", fmt.Sprintf("is %d, but must lie between 1 and %d", p.Images, manifest.MaxFiles))
	case p.KnownImages < 0 || p.KnownImages > p.Images:
		return invalidField("photos.known_images", fmt.Sprintf("is %d, but must lie between 0 and images, %d", p.KnownImages, p.Images))
	case p.Bytes < 1 || p.Bytes > manifest.MaxFileBytes*int64(p.Images):
		return invalidField("photos.bytes", fmt.Sprintf("is %d, but so many images have between 1 and %d", p.Bytes, manifest.MaxFileBytes*int64(p.Images)))
	case p.Classes < manifest.MinClasses || p.Classes > manifest.MaxClasses:
		return invalidField("photos.classes", fmt.Sprintf("is %d, but must lie between %d and %d", p.Classes, manifest.MinClasses, manifest.MaxClasses))
	}
	return nil
}

// forgetPlans removes a user's plans that ended a while ago: nobody lists or deletes them.
func (s *Service) forgetPlans(ctx context.Context, user string) {
	ids, err := s.store.DeletePlans(ctx, user, s.now().Add(-planKept))
	s.report(ctx, "forget old plans", err)
	for _, id := range ids {
		s.report(ctx, "forget old plans", s.volume.Remove(runspec.TaskDir(user, id)))
	}
}

// photos is what was said of photos that are not here, for the spec of a plan.
func (s *Service) photos(t store.Task) (*runspec.Photos, error) {
	name, err := s.volume.Path(path.Join(runspec.TaskDir(t.Owner, t.ID), photosFile))
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read what is to be planned for: %w", err)
	}
	var p runspec.Photos
	if err := json.Unmarshal(content, &p); err != nil {
		return nil, fmt.Errorf("read what is to be planned for: %w", err)
	}
	return &p, nil
}
