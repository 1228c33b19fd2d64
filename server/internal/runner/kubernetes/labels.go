package kubernetes

// Labels and annotations of every Job and pod. Nothing else of an object's metadata is interpreted.
const (
	labelName      = "app.kubernetes.io/name"
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelInstance  = "cultivar.dev/instance" // tells the Jobs of several servers in one namespace apart
	labelTask      = "cultivar.dev/task"
	labelAttempt   = "cultivar.dev/attempt"
	labelKind      = "cultivar.dev/kind"
	labelUser      = "cultivar.dev/user" // only where the name can be a label's value

	// labelQueue is read by Kueue (https://kueue.sigs.k8s.io/docs/tasks/run/jobs).
	labelQueue = "kueue.x-k8s.io/queue-name"

	// annotationSpec holds the SHA-256 of the pod's specification as this package made it, before the API server
	// filled in its defaults.
	annotationSpec = "cultivar.dev/spec-hash"

	valueName      = "cultivar-trainer"
	valueManagedBy = "cultivar"
)

// selector matches the Jobs and pods of one server.
func selector(instance string) string {
	return labelManagedBy + "=" + valueManagedBy + "," + labelInstance + "=" + instance
}
