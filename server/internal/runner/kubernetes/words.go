package kubernetes

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
)

const (
	// logPatience bounds the wait for a log: the end of a job is told without it.
	logPatience = 5 * time.Second
	// logLines and logBytes are how much of a log's end is searched for its last line.
	logLines = 20
	logBytes = 16 << 10
)

// complete adds a trainer's last words to how it ended where the pod has none of them. As a rule it has: the kubelet puts
// the end of the log into its status, when it can read it at that moment.
func (r *Runner) complete(ctx context.Context, v view, st *runner.Status) {
	if st.Phase != runner.Exited || st.Exit.Cause != "" || st.Exit.Code == 0 || st.Exit.Detail != "" || indexed(v.job) {
		return
	}
	for _, p := range v.pods {
		if s := mainStatus(p.Pod); s != nil && s.State.Terminated != nil && p.gone.IsZero() {
			st.Exit.Detail = r.lastWords(ctx, p.Name)
			return
		}
	}
}

// lastWords is the last line of a pod's log; empty when it has none or cannot be had.
func (r *Runner) lastWords(ctx context.Context, pod string) string {
	ctx, cancel := context.WithTimeout(ctx, logPatience)
	defer cancel()
	text, err := r.pods.GetLogs(pod, &corev1.PodLogOptions{Container: container, TailLines: new(int64(logLines)), LimitBytes: new(int64(logBytes))}).DoRaw(ctx)
	if err != nil {
		return ""
	}
	return lastLine(strings.ToValidUTF8(string(text), "\uFFFD"))
}
