package features

// output is what a pass computes for one cache.
type output struct {
	*writer
	layers []string
	had    []bool // rows that the cache has
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
	var all []string
	for _, o := range r.outs {
		all = append(all, o.layers...)
	}
	return all
}

// store keeps the rows of a batch. values has those of each layer for the whole batch.
func (r *run) store(wants []int, values [][]float32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := 0
	for _, o := range r.outs {
		parts := values[at : at+len(o.layers)]
		at += len(o.layers)
		for i, want := range wants {
			if o.had[want] {
				continue
			}
			if err := o.add(r.rows[want], i, parts); err != nil {
				return err
			}
		}
	}
	r.done += len(wants)
	r.Progress(r.done, len(r.rows))
	return nil
}
