package features

// output is what a pass computes for one cache.
type output struct {
	*writer
	layer string
	had   []bool // rows that the cache has
}

func (r *run) publish() error {
	for _, o := range r.outs {
		if err := o.publish(); err != nil {
			return err
		}
	}
	return nil
}

// layers are those that the network is asked for, in the order of the outputs.
func (r *run) layers() []string {
	all := make([]string, len(r.outs))
	for i, o := range r.outs {
		all[i] = o.layer
	}
	return all
}

// store keeps the rows of a batch. values has those of each output for the whole batch.
func (r *run) store(wants []int, values [][]float32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at, o := range r.outs {
		for i, want := range wants {
			if o.had[want] {
				continue
			}
			if err := o.add(r.rows[want], values[at][i*o.dim:(i+1)*o.dim]); err != nil {
				return err
			}
		}
	}
	r.done += len(wants)
	r.Progress(r.done, len(r.rows))
	return nil
}
