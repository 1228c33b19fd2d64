package tasks

import "sync"

// broker wakes those who wait for events of a task. It carries no data, so nobody can miss any: who wakes reads the
// database.
type broker struct {
	mu    sync.Mutex
	tasks map[string]*waiters
}

type waiters struct {
	changed chan struct{}
	count   int
}

// subscription is one reader's place at the broker.
type subscription struct {
	b    *broker
	task string
}

func (b *broker) subscribe(task string) *subscription {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tasks == nil {
		b.tasks = map[string]*waiters{}
	}
	w := b.tasks[task]
	if w == nil {
		w = &waiters{changed: make(chan struct{})}
		b.tasks[task] = w
	}
	w.count++
	return &subscription{b, task}
}

// changed is closed at the next wake after the call: take it before reading the database.
func (s *subscription) changed() <-chan struct{} {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	return s.b.tasks[s.task].changed
}

func (s *subscription) close() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	w := s.b.tasks[s.task]
	if w.count--; w.count == 0 {
		delete(s.b.tasks, s.task)
	}
}

func (b *broker) wake(task string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w := b.tasks[task]; w != nil {
		close(w.changed)
		w.changed = make(chan struct{})
	}
}
