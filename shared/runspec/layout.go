package runspec

import "path"

// Names on the shared volume. All are made of ids and hashes and are relative to the volume's root.
const (
	SpecFile       = "spec.json"
	RecordsFile    = "records.jsonl"
	ResultFile     = "result.json"
	CheckpointDir  = "checkpoint"
	StartFile      = "start.safetensors" // what a later training goes on from; no artifact
	ArtifactsDir   = "artifacts"
	ManifestFile   = "manifest.jsonl"
	StopFile       = "stop"
	BasesFile      = "bases.json"
	EvaluationFile = "evaluation.json" // artifact
	LabelsFile     = "labels.txt"      // artifact
	SplitFile      = "split.jsonl"     // artifact: which image was on which side
	ReportFile     = "report.html"     // artifact: a page on how good the model is and where it errs
	CardFile       = "model-card.md"   // artifact: what others should know of the model
	UsageFile      = "usage.md"        // artifact: samples of its use
	// UnrefitFile lies in an executor's folder once its model has learned from the validation photos too: the arrays that
	// this changed, from before, as safetensors. What learns from the model must not hear of those photos.
	UnrefitFile = "unrefit.safetensors"
)

// Formats of artifacts that are no models.
const (
	FormatLabels = "labels"
	FormatReport = "report"
	FormatCard   = "card"
	FormatUsage  = "usage"
)

// BasesDir holds bases.json and the canonical weights.
func BasesDir() string { return "bases" }

// UserDir holds everything of one user.
func UserDir(user string) string { return path.Join("users", user) }

// PacksDir holds a user's packs.
func PacksDir(user string) string { return path.Join(UserDir(user), "packs") }

// PackName is a pack's path below PacksDir; hash is hex SHA-256 of its index.
func PackName(hash string) string { return path.Join(hash[:2], hash+".pack") }

// DatasetDir holds a dataset version's manifest.
func DatasetDir(user, digest string) string { return path.Join(UserDir(user), "datasets", digest) }

// FeaturesDir holds a user's activation cache.
func FeaturesDir(user string) string { return path.Join(UserDir(user), "features") }

// TaskDir holds a task's spec, stop flag and attempts.
func TaskDir(user, task string) string { return path.Join(UserDir(user), "tasks", task) }
