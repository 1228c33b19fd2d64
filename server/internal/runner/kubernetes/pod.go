package kubernetes

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
)

const (
	// TokenPath is where a trainer finds the token that proves which pod it is. The kubelet renews it there.
	TokenPath = tokenDir + "/" + tokenFile

	tokenDir  = "/var/run/secrets/cultivar"
	tokenFile = "token"
	// tokenLife is how long a token is valid, in seconds; a new one comes after four fifths of it.
	tokenLife = 3600

	container     = "trainer"
	volumeData    = "data"
	volumeToken   = "token"
	volumeScratch = "tmp"
	scratchDir    = "/tmp"

	// User is whom trainers run as: nobody, whom distroless images call nonroot. Folders on the volume belong to it.
	User = 65532
	// endPatience is how long a trainer may take to write its checkpoint after SIGTERM, in seconds.
	endPatience = 120
)

// Audience is whom a trainer's token is meant for: this attempt's callback and nothing else.
func Audience(namespace, task string, attempt int) string {
	return fmt.Sprintf("cultivar/%s/%s/%d", namespace, task, attempt)
}

// podSpec is the pod of one trainer, fit for Pod Security's level "restricted". Nothing in it comes from a person: the
// settings are the admin's, names are ids and hashes.
func podSpec(c Cluster, p Profile, job runner.Job) (corev1.PodSpec, error) {
	mounts, err := mounts(c, job.Mounts)
	if err != nil {
		return corev1.PodSpec{}, err
	}
	if job.Spec == "" || job.Kind == "" {
		return corev1.PodSpec{}, errors.New("it has no kind or no spec")
	}
	image := c.Image
	if p.Image != "" {
		image = p.Image
	}
	spec := corev1.PodSpec{
		RestartPolicy:                 corev1.RestartPolicyNever,
		TerminationGracePeriodSeconds: new(c.endPatience),
		ServiceAccountName:            c.ServiceAccount,
		AutomountServiceAccountToken:  new(false),
		EnableServiceLinks:            new(false),
		NodeSelector:                  p.NodeSelector,
		PriorityClassName:             p.Priority,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: new(true), RunAsUser: new(int64(User)), RunAsGroup: new(int64(User)), FSGroup: new(int64(User)),
			// Changing the owner of every file at each start takes minutes on a big volume.
			FSGroupChangePolicy: new(corev1.FSGroupChangeOnRootMismatch),
			SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{
			Name:            container,
			Image:           image,
			ImagePullPolicy: c.PullPolicy,
			Args:            []string{string(job.Kind), "--spec", job.Spec},
			Env:             environment(),
			Resources:       resources(p),
			VolumeMounts:    mounts,
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), RunAsNonRoot: new(true),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
			// The last lines of what a trainer wrote that died before it could report anything.
			TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		}},
		Volumes: volumes(c, p, Audience(c.Namespace, job.Task, job.Attempt)),
	}
	for _, name := range c.PullSecrets {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	for _, key := range p.Tolerations {
		spec.Tolerations = append(spec.Tolerations, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists})
	}
	return spec, nil
}

// environment is what a trainer is told beside its spec. The number of processors is the limit's: TensorFlow counts those
// of the whole machine and would start a thread for each.
func environment() []corev1.EnvVar {
	processors := &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: container, Resource: "limits.cpu", Divisor: resource.MustParse("1")}}
	return []corev1.EnvVar{
		{Name: "CULTIVAR_EXECUTOR", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.uid"}}},
		{Name: "HDF5_USE_FILE_LOCKING", Value: "FALSE"}, // network file systems have no locks to rely on
		{Name: "HOME", Value: scratchDir},
		{Name: "OMP_NUM_THREADS", ValueFrom: processors},
		{Name: "TF_CPP_MIN_LOG_LEVEL", Value: "2"},
		{Name: "TF_NUM_INTRAOP_THREADS", ValueFrom: processors},
		{Name: "TMPDIR", Value: scratchDir},
	}
}

// resources asks for just what is allowed, so that a trainer is the last to be evicted and always equally fast.
func resources(p Profile) corev1.ResourceRequirements {
	list := corev1.ResourceList{corev1.ResourceCPU: p.CPU, corev1.ResourceMemory: p.Memory}
	if p.GPUs > 0 {
		list[p.GPUResource] = *resource.NewQuantity(p.GPUs, resource.DecimalSI)
	}
	return corev1.ResourceRequirements{Requests: list, Limits: list.DeepCopy()}
}

func volumes(c Cluster, p Profile, audience string) []corev1.Volume {
	scratch := p.Scratch.DeepCopy()
	return []corev1.Volume{
		{Name: volumeData, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.Claim}}},
		{Name: volumeToken, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			DefaultMode: new(int32(0o440)),
			Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
				Audience: audience, ExpirationSeconds: new(int64(tokenLife)), Path: tokenFile,
			}}},
		}}},
		{Name: volumeScratch, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &scratch}}},
	}
}

// mounts gives a trainer the folders it needs at the paths where the server has them, and nothing of anyone else's.
func mounts(c Cluster, wanted []runner.Mount) ([]corev1.VolumeMount, error) {
	write := map[string]bool{}
	for _, m := range wanted {
		if !local(m.Name) {
			return nil, fmt.Errorf("the mount %q is not a plain path below the volume's root", m.Name)
		}
		write[m.Name] = write[m.Name] || m.Write
	}
	if c.Bases != "" {
		write[c.Bases] = false
	}
	var out []corev1.VolumeMount
	for name, w := range write {
		out = append(out, corev1.VolumeMount{Name: volumeData, MountPath: path.Join(c.Volume, name), SubPath: path.Join(c.ClaimPath, name), ReadOnly: !w})
	}
	// A folder comes before those within it, whose mounts would be hidden by its own otherwise.
	slices.SortFunc(out, func(a, b corev1.VolumeMount) int { return strings.Compare(a.MountPath, b.MountPath) })
	return append(out,
		corev1.VolumeMount{Name: volumeToken, MountPath: tokenDir, ReadOnly: true},
		corev1.VolumeMount{Name: volumeScratch, MountPath: scratchDir},
	), nil
}
