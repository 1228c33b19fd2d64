package tasks

import (
	"slices"

	"github.com/cultivar-ml/cultivar/shared/api"
)

// next is the one transition table: which states may follow which. What is not in it cannot happen; nothing leaves the
// three terminal states.
func next(s api.State) []api.State {
	switch s {
	case api.StateQueued:
		return []api.State{api.StateStarting, api.StateCancelled}
	case api.StateStarting:
		return []api.State{api.StateRunning, api.StateInterrupted, api.StateFailed, api.StateCancelled}
	case api.StateRunning:
		return []api.State{api.StateStopping, api.StateSucceeded, api.StateFailed, api.StateInterrupted, api.StateCancelled}
	case api.StateStopping:
		return []api.State{api.StateSucceeded, api.StateFailed, api.StateCancelled, api.StateInterrupted}
	case api.StateInterrupted:
		return []api.State{api.StateQueued, api.StateFailed, api.StateCancelled}
	}
	return nil
}

// Allowed tells whether a task may go from one state to another.
func Allowed(from, to api.State) bool { return slices.Contains(next(from), to) }

// Terminal tells whether a state is final.
func Terminal(s api.State) bool {
	return s == api.StateSucceeded || s == api.StateFailed || s == api.StateCancelled
}

// executing tells whether an attempt is under way in a state.
func executing(s api.State) bool {
	return s == api.StateStarting || s == api.StateRunning || s == api.StateStopping
}
