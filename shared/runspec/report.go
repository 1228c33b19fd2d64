package runspec

// ReportVersion is the format version of evaluation.json.
const ReportVersion = 1

// Report is the artifact evaluation.json: the evaluation record with what does not fit into a record.
type Report struct {
	Version int `json:"version"`
	Evaluation
	Labels    []string     `json:"labels"`
	Classes   []ClassScore `json:"classes"`
	Confusion []Cell       `json:"confusion"` // cells that are not 0, by row
	Mistakes  []Mistake    `json:"mistakes"`  // all, most confident first
	// Mislabelled are photos of all splits that probably lie in the wrong folder, the likeliest first. Absent in what is
	// measured on a finished model, which cannot tell.
	Mislabelled []Mislabelled `json:"mislabelled,omitempty"`
	// Compared sets the model beside others; none where there is nothing to compare with.
	Compared []Compared `json:"compared,omitempty"`
}

// Mislabelled is a photo whose label is doubted: models that had not learned from it were confident of another one
// (Northcutt, Jiang and Chuang 2021, "Confident learning"). The probabilities are theirs, 0…1.
type Mislabelled struct {
	Path                 string `json:"path"`
	SHA256               string `json:"sha256"`
	Given                string `json:"given"`
	Suggested            string `json:"suggested"`
	GivenProbability     Float  `json:"given_probability"`
	SuggestedProbability Float  `json:"suggested_probability"`
}

// ClassScore is how one class fared. Precision is the share right among those given this label, recall the share of the
// class that was found, F1 their harmonic mean; all 0…1.
type ClassScore struct {
	Class     string `json:"class"`
	Images    int    `json:"images"`
	Precision Float  `json:"precision"`
	Recall    Float  `json:"recall"`
	F1        Float  `json:"f1"`
}

// Cell counts the images of class Actual that were taken for class Predicted; both are positions in Labels.
type Cell struct {
	Actual    int `json:"actual"`
	Predicted int `json:"predicted"`
	Count     int `json:"count"`
}

// What a compared model is to the one that was trained.
const (
	RoleTeacher = "teacher" // it learned from this one
	RoleWhole   = "whole"   // it is what was left of this one's network; here with a head alone, not fine-tuned
	RoleTrained = "trained" // it itself
)

// Compared is a model in figures, all measured in one run on the same photos and machine.
type Compared struct {
	Role       string `json:"role"`
	Run        string `json:"run,omitempty"` // of the teacher
	Base       string `json:"base"`
	Accuracy   Float  `json:"accuracy"`     // on the evaluation's photos, 0…1
	Params     int64  `json:"params"`       // weights, head included
	Bytes      int64  `json:"bytes"`        // of them as float32
	MACs       int64  `json:"macs"`         // multiply-adds an image
	MsPerImage Float  `json:"ms_per_image"` // milliseconds, in batches on all cores, decoding not counted
	Note       string `json:"note,omitempty"`
}

// Called is what people call the model: its role as it came where that is none of the above, so not yet fit for a terminal.
func (c Compared) Called() string {
	switch c.Role {
	case RoleTeacher:
		return "the teacher"
	case RoleWhole:
		return "unpruned"
	case RoleTrained:
		return "this model"
	}
	return c.Role
}
