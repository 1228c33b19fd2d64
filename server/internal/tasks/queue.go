package tasks

import (
	"slices"

	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// fair orders queued tasks of one kind as they will start: round robin between owners, beginning with the one who waited
// longest since a task of theirs was started; each owner's own tasks in the order they were queued.
func fair(active []store.Task, kind runspec.Kind, lastStart map[string]int64) []store.Task {
	byOwner := map[string][]store.Task{}
	var owners []string
	for _, t := range active {
		if t.State != api.StateQueued || t.Kind != kind {
			continue
		}
		if byOwner[t.Owner] == nil {
			owners = append(owners, t.Owner)
		}
		byOwner[t.Owner] = append(byOwner[t.Owner], t)
	}
	slices.SortStableFunc(owners, func(a, b string) int {
		switch x, y := lastStart[a], lastStart[b]; {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	var out []store.Task
	for round := 0; ; round++ {
		before := len(out)
		for _, o := range owners {
			if round < len(byOwner[o]) {
				out = append(out, byOwner[o][round])
			}
		}
		if len(out) == before {
			return out
		}
	}
}

// taken counts the slots in use by tasks of a kind.
func taken(active []store.Task, kind runspec.Kind) int {
	n := 0
	for _, t := range active {
		if t.Kind == kind && executing(t.State) {
			n++
		}
	}
	return n
}
