package runspec

import (
	"encoding/json"
	"fmt"
	"math"
)

// Float is a number that may be NaN or infinite; JSON carries those as "NaN", "+Inf" and "-Inf".
type Float float64

// MarshalJSON writes the number, or its name when JSON has none for it.
func (f Float) MarshalJSON() ([]byte, error) {
	switch v := float64(f); {
	case math.IsNaN(v):
		return []byte(`"NaN"`), nil
	case math.IsInf(v, 1):
		return []byte(`"+Inf"`), nil
	case math.IsInf(v, -1):
		return []byte(`"-Inf"`), nil
	default:
		return json.Marshal(v)
	}
}

// UnmarshalJSON reads what MarshalJSON writes.
func (f *Float) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case `"NaN"`:
		*f = Float(math.NaN())
	case `"+Inf"`:
		*f = Float(math.Inf(1))
	case `"-Inf"`:
		*f = Float(math.Inf(-1))
	default:
		var v float64
		if err := json.Unmarshal(b, &v); err != nil {
			return fmt.Errorf("%s is not a number, \"NaN\", \"+Inf\" or \"-Inf\"", b)
		}
		*f = Float(v)
	}
	return nil
}

// The phases of a training, in order.
const (
	PhasePrepare  = "prepare"
	PhaseFeatures = "features"
	PhaseTeacher  = "teacher" // the teacher's answers; only where the recipe names one
	PhaseHead     = "head"
	PhaseFinetune = "finetune" // the blocks behind the cut and the head; only where the recipe asks for it
	PhaseEvaluate = "evaluate"
	PhaseExport   = "export"
)

// Phase says that a phase begins. Total counts its units of work (images, epochs, files); 0: not known.
type Phase struct {
	Phase string `json:"phase"`
	Total int    `json:"total"`
}

// Progress says how far a phase is; at most 4 a second. Rate is units a second.
type Progress struct {
	Phase      string `json:"phase"`
	Done       int    `json:"done"`
	Total      int    `json:"total"`
	Rate       Float  `json:"rate"`
	ETASeconds Float  `json:"eta_seconds"`
}

// Step is the training loss after an optimiser step.
type Step struct {
	Phase        string `json:"phase"`
	Step         int    `json:"step"`
	Loss         Float  `json:"loss"`
	LearningRate Float  `json:"learning_rate"`
}

// Epoch is one point of the curves. Accuracies are shares, 0…1. Epoch counts from 1. After a resume an epoch may come
// again with its attempt; the later attempt wins.
type Epoch struct {
	Phase           string `json:"phase"`
	Epoch           int    `json:"epoch"`
	Attempt         int    `json:"attempt"`
	TrainLoss       Float  `json:"train_loss"`
	TrainAccuracy   Float  `json:"train_accuracy"`
	ValLoss         Float  `json:"val_loss"`
	ValAccuracy     Float  `json:"val_accuracy"`
	LearningRate    Float  `json:"learning_rate"`
	Seconds         Float  `json:"seconds"`
	ImagesPerSecond Float  `json:"images_per_second"`
}

// System is the use of the machine. CPU is in cores.
type System struct {
	CPU            Float `json:"cpu"`
	RSSBytes       int64 `json:"rss_bytes"`
	GPU            Float `json:"gpu,omitempty"`
	GPUMemoryBytes int64 `json:"gpu_memory_bytes,omitempty"`
}

// What was done about a problem.
const (
	ActionSkipped = "skipped" // the image is left out
	ActionKept    = "kept"
)

// Problem names an image that could not be used as it is. Reason is a code of package manifest.
type Problem struct {
	Path   string `json:"path"`
	Class  string `json:"class"`
	Reason string `json:"reason"`
	Text   string `json:"text"`
	Action string `json:"action"`
}

// Log is a sentence for people. Level is info, warning or error.
type Log struct {
	Level string `json:"level"`
	Text  string `json:"text"`
}

// Evaluation is how good the model is on images it has not learned from. Split is "test" or "validation".
// ECE is the expected calibration error with 15 bins (Guo et al. 2017), 0…1. The whole is in evaluation.json.
type Evaluation struct {
	Split    string     `json:"split"`
	Images   int        `json:"images"`
	Accuracy Float      `json:"accuracy"`
	Top3     Float      `json:"top3"`
	Loss     Float      `json:"loss"`
	ECE      Float      `json:"ece"`
	MacroF1  Float      `json:"macro_f1"`
	Confused []Confused `json:"confused"` // at most 50, most frequent first
	Worst    []Mistake  `json:"worst"`    // at most 50, most confident first
	// Threshold is where the model says "unsure"; absent of a model that has none.
	Threshold *Threshold `json:"threshold,omitempty"`
}

// Threshold is the probability of the most probable class below which a model says "unsure" instead of naming it: it is not
// sure, or what it sees is none of its classes. Coverage and Accuracy say what that costs and gains on the photos of the
// evaluation. All are of 0…1.
type Threshold struct {
	Probability Float `json:"probability"`
	Coverage    Float `json:"coverage"` // share of the photos that are answered
	Accuracy    Float `json:"accuracy"` // of the photos that are answered; 0 when none is
}

// Confused counts images of class Actual that were taken for class Predicted.
type Confused struct {
	Actual    string `json:"actual"`
	Predicted string `json:"predicted"`
	Count     int    `json:"count"`
}

// Mistake is one image that the model got wrong. Confidence is the probability it gave to Predicted, 0…1.
type Mistake struct {
	Path       string `json:"path"`
	SHA256     string `json:"sha256"`
	Actual     string `json:"actual"`
	Predicted  string `json:"predicted"`
	Confidence Float  `json:"confidence"`
}

// Artifact is a file the run made. Agreement is the share of checked images on which it answers as the trained model
// does; Accuracy is on the whole evaluation split, and absent when only a part of it was checked. Both are absent for files
// that are not models.
type Artifact struct {
	Name       string `json:"name"` // file name in the artifacts folder
	Format     string `json:"format"`
	Bytes      int64  `json:"bytes"`
	SHA256     string `json:"sha256"`
	Accuracy   *Float `json:"accuracy,omitempty"`
	Agreement  *Float `json:"agreement,omitempty"`
	MsPerImage *Float `json:"ms_per_image,omitempty"`
	Note       string `json:"note,omitempty"`
}

// Checkpoint says that training can go on from here.
type Checkpoint struct {
	Step  int `json:"step"`
	Epoch int `json:"epoch"`
}

// Prediction is the answer for one image of a predict task, most probable label first. Unsure: the first one's probability
// lies below the model's threshold. Error is set instead of Top when the image cannot be read.
type Prediction struct {
	Index  int     `json:"index"` // position in the input pack, from 0
	SHA256 string  `json:"sha256"`
	Top    []Score `json:"top"`
	Unsure bool    `json:"unsure,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// Score is a label with its probability, 0…1.
type Score struct {
	Label       string `json:"label"`
	Probability Float  `json:"probability"`
}

// Result is the last record. State is succeeded, failed or cancelled. Recipe is the recipe with every automatic value
// resolved. TestAccuracy is absent when there is no test split. Planned is what a training was expected to take when it
// began, and Spent what it took.
type Result struct {
	State           string  `json:"state"`
	Reason          string  `json:"reason,omitempty"`
	BestEpoch       int     `json:"best_epoch"`
	ValAccuracy     Float   `json:"val_accuracy"`
	TestAccuracy    *Float  `json:"test_accuracy,omitempty"`
	Seconds         Float   `json:"seconds"`
	PeakMemoryBytes int64   `json:"peak_memory_bytes"`
	Recipe          *Recipe `json:"recipe,omitempty"`
	Planned         *Cost   `json:"planned,omitempty"`
	Spent           *Cost   `json:"spent,omitempty"`
}

// State is a change of a task's state, with a sentence when there is something to say.
type State struct {
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Attempt int    `json:"attempt"`
}
