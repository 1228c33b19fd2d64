package kubernetes

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

const (
	// keepEnded is a net for Jobs that no server removes any more, in seconds; the server removes its own much earlier.
	keepEnded = 7 * 24 * 3600
	// indexRetries is how often a part of a divided job is tried again: its parts depend on nothing but the photos, so
	// that the cluster may do that by itself.
	indexRetries = 2
	// maxParts bounds a divided job; each part is a pod.
	maxParts = 256
)

// Build makes the Job that executes an attempt. It is pure: the same settings and job give the same Job, byte for byte.
func Build(c Cluster, job runner.Job) (*batchv1.Job, error) {
	profile, err := c.Profile(job.Profile)
	if err != nil {
		return nil, fmt.Errorf("build job %s: %w", job.Name, err)
	}
	labels, err := labelsOf(c, job)
	if err != nil {
		return nil, fmt.Errorf("build job %s: %w", job.Name, err)
	}
	if job.Parts > maxParts {
		return nil, fmt.Errorf("build job %s: %d parts are more than %d", job.Name, job.Parts, maxParts)
	}
	spec, err := podSpec(c, profile, job)
	if err != nil {
		return nil, fmt.Errorf("build job %s: %w", job.Name, err)
	}
	canonical, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("build job %s: %w", job.Name, err)
	}
	hash := sha256.Sum256(canonical)
	out := &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: batchv1.SchemeGroupVersion.String(), Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{
			Name: job.Name, Namespace: c.Namespace, Labels: labels,
			Annotations: map[string]string{annotationSpec: hex.EncodeToString(hash[:])},
		},
		Spec: batchv1.JobSpec{
			// A trainer is never started twice by the cluster: the supervisor alone decides on another attempt, so that
			// records, spool and files of two never mix.
			BackoffLimit:            new(int32(0)),
			PodReplacementPolicy:    new(batchv1.Failed),
			ActiveDeadlineSeconds:   new(int64(profile.Deadline.Seconds())),
			TTLSecondsAfterFinished: new(int32(keepEnded)),
			Template:                corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: maps.Clone(labels)}, Spec: spec},
		},
	}
	if c.Queue != "" {
		out.Labels[labelQueue] = c.Queue
	}
	if job.Parts > 1 {
		divide(&out.Spec, int32(job.Parts))
	}
	return out, nil
}

// divide makes a Job of several trainers, each with an index. A part that ends with an exit code that another try cannot
// change fails at once, without an end to the other parts.
func divide(spec *batchv1.JobSpec, parts int32) {
	spec.CompletionMode = new(batchv1.IndexedCompletion)
	spec.Completions, spec.Parallelism = new(parts), new(parts)
	spec.BackoffLimit = nil // with a limit for each index, one for all would end the Job at its first failure
	spec.BackoffLimitPerIndex = new(int32(indexRetries))
	var codes []int32
	for code := range int32(256) {
		if runspec.Final(int(code)) {
			codes = append(codes, code)
		}
	}
	spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
		Action: batchv1.PodFailurePolicyActionFailIndex,
		OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
			ContainerName: new(container), Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: codes,
		},
	}}}
}

func labelsOf(c Cluster, job runner.Job) (map[string]string, error) {
	if msgs := content.IsDNS1123Label(job.Name); len(msgs) > 0 {
		return nil, fmt.Errorf("its name cannot be used: %s", msgs[0])
	}
	labels := map[string]string{
		labelName: valueName, labelManagedBy: valueManagedBy, labelInstance: c.Instance,
		labelTask: job.Task, labelAttempt: strconv.Itoa(job.Attempt), labelKind: string(job.Kind),
	}
	for key, value := range labels {
		if msgs := content.IsLabelValue(value); len(msgs) > 0 {
			return nil, fmt.Errorf("%q cannot be the label %s: %s", value, key, msgs[0])
		}
	}
	if job.Owner != "" && len(content.IsLabelValue(job.Owner)) == 0 {
		labels[labelUser] = job.Owner
	}
	return labels, nil
}
