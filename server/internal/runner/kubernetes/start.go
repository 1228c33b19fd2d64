package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
)

// killAgain is how long a deletion may go unseen until it is asked for again.
const killAgain = 15 * time.Second

// Start implements runner.Runner. A Job of that name is adopted when it is this attempt's; so is one whose creation was
// asked for earlier and whose answer got lost.
func (r *Runner) Start(ctx context.Context, job runner.Job) error {
	want, err := Build(r.cluster, job)
	if err != nil {
		return err
	}
	if v, _, ok := r.cache.view(job.Name); ok {
		return adopt(v.job, want)
	}
	made, err := r.create(ctx, want)
	if err == nil {
		r.cache.putJob(trimJob(made))
		return nil
	}
	if refused(err) {
		return fmt.Errorf("create job %s: %w", job.Name, err)
	}
	// It exists already, or nobody knows whether the request had an effect.
	have, getErr := r.get(ctx, job.Name)
	if getErr != nil {
		return fmt.Errorf("create job %s: %w", job.Name, errors.Join(err, getErr))
	}
	if err := adopt(have, want); err != nil {
		return err
	}
	r.cache.putJob(trimJob(have))
	return nil
}

func (r *Runner) create(ctx context.Context, job *batchv1.Job) (*batchv1.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	return r.jobs.Create(ctx, job, metav1.CreateOptions{})
}

func (r *Runner) get(ctx context.Context, name string) (*batchv1.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	return r.jobs.Get(ctx, name, metav1.GetOptions{})
}

// refused tells whether an error says for sure that nothing was made.
func refused(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsBadRequest(err) ||
		apierrors.IsNotFound(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// adopt says why a Job is not the one that Build makes; nil when it is.
func adopt(have, want *batchv1.Job) error {
	for _, key := range []string{labelManagedBy, labelInstance, labelTask, labelAttempt} {
		if have.Labels[key] != want.Labels[key] {
			return fmt.Errorf("create job %s: a Job of that name exists with %s %q instead of %q; it is somebody else's", want.Name, key, have.Labels[key], want.Labels[key])
		}
	}
	if have.Annotations[annotationSpec] != want.Annotations[annotationSpec] {
		return fmt.Errorf("create job %s: it exists with another pod specification, made with other settings of the server", want.Name)
	}
	return nil
}

// Kill implements runner.Runner. The Job is deleted in the foreground: its name stays taken until its pods have ended, so
// that whoever sees it gone knows that nothing of it runs. A trainer gets SIGTERM and, endPatience later, SIGKILL.
func (r *Runner) Kill(ctx context.Context, name string) error {
	st, err := r.Status(ctx, name)
	if errors.Is(err, runner.ErrUnknown) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end job %s: %w", name, err)
	}
	if st.Phase == runner.Exited || st.Phase == runner.Lost {
		return nil
	}
	uid, going, ok := r.cache.deleting(name, time.Now())
	if going || !ok {
		return nil
	}
	err = r.remove(ctx, name, uid, metav1.DeletePropagationForeground)
	if err != nil && !apierrors.IsNotFound(err) {
		r.cache.recheck(name, uid)
		return fmt.Errorf("end job %s: %w", name, err)
	}
	r.cache.kill(name, uid, time.Now())
	return nil
}

// Remove implements runner.Runner. The pods go too, without being waited for: they have ended.
func (r *Runner) Remove(ctx context.Context, name string) error {
	st, err := r.Status(ctx, name)
	if errors.Is(err, runner.ErrUnknown) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove job %s: %w", name, err)
	}
	if st.Phase != runner.Exited && st.Phase != runner.Lost {
		return fmt.Errorf("remove job %s: it is %s", name, st.Phase)
	}
	uid, _, ok := r.cache.deleting(name, time.Now())
	if !ok {
		return nil
	}
	err = r.remove(ctx, name, uid, metav1.DeletePropagationBackground)
	if err != nil && !apierrors.IsNotFound(err) {
		r.cache.recheck(name, uid)
		return fmt.Errorf("remove job %s: %w", name, err)
	}
	r.cache.remove(name, uid, time.Now())
	return nil
}

// remove deletes just this Job, never one that took its name.
func (r *Runner) remove(ctx context.Context, name string, uid types.UID, how metav1.DeletionPropagation) error {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	return r.jobs.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &how, Preconditions: &metav1.Preconditions{UID: &uid}})
}
