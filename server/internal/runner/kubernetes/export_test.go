package kubernetes

// SetEndPatience shortens what a trainer may take to end, for a trainer that never does.
func (r *Runner) SetEndPatience(seconds int64) { r.cluster.endPatience = seconds }
