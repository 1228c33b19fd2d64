package runspec

// Cost is what a training takes, of which Plan says what is expected and Result what it was.
type Cost struct {
	Seconds Float          `json:"seconds"` // from the trainer's start to its end; the sum of Phases
	Phases  []PhaseSeconds `json:"phases"`  // in order, those that take place
	// Rows are the views of photos that are needed, and CachedRows those among them that were computed before.
	Rows       int `json:"rows"`
	CachedRows int `json:"cached_rows"`
	// CacheBytes and FileBytes are what is added on disk: to the activation cache, which other trainings share, and by
	// the run's own files, which are its artifacts and checkpoints.
	CacheBytes int64 `json:"cache_bytes"`
	FileBytes  int64 `json:"file_bytes"`
	// Unknown names what was never measured on such a machine; Seconds and bytes are without it.
	Unknown []string `json:"unknown,omitempty"`
}

// PhaseSeconds is how long a phase takes.
type PhaseSeconds struct {
	Phase   string `json:"phase"`
	Seconds Float  `json:"seconds"`
}

// Plan is what a Plan task answers: what the recipe would cost, and what each preset would. Measuring says that something
// in it is not known yet and being measured: another record with everything follows.
type Plan struct {
	Options   []PlanOption `json:"options"`
	Measuring bool         `json:"measuring"`
}

// PlanOption is one recipe with its cost. Name is the preset's, or PlanGiven.
type PlanOption struct {
	Name   string `json:"name"`
	Recipe Recipe `json:"recipe"` // with what is settled before the photos are read resolved
	Cost   Cost   `json:"cost"`
	// Refused is why a training with this recipe would end at once, such as a time budget below what is needed at least.
	Refused string `json:"refused,omitempty"`
}

// PlanGiven is the name of the option that is the recipe as it was given. It is the first one.
const PlanGiven = "given"

// Photos describes images that are not, or not all, at the server yet.
type Photos struct {
	Images  int   `json:"images"`
	Known   int   `json:"known"` // of them at the server already
	Bytes   int64 `json:"bytes"` // of all files
	Classes int   `json:"classes"`
}
