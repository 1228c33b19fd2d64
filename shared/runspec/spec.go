package runspec

import (
	"encoding/json"
	"fmt"
)

// Kind is what a task does.
type Kind string

// The kinds of task. A run is a Train task.
const (
	Train    Kind = "train"
	Features Kind = "features" // only fill the activation cache, one part of the images
	Evaluate Kind = "evaluate"
	Predict  Kind = "predict"
	Planning Kind = "plan" // what a training would take, before there is one
)

// Spec is what the server tells a trainer about one attempt, read from spec.json. All paths are absolute on the
// trainer's side and made by the server of hashes and ids, never of user-given names.
type Spec struct {
	Version  int      `json:"version"`
	Kind     Kind     `json:"kind"`
	Task     string   `json:"task"`
	Attempt  int      `json:"attempt"` // from 1
	Dataset  Dataset  `json:"dataset"`
	Recipe   Recipe   `json:"recipe"`
	Model    string   `json:"model,omitempty"`   // Evaluate, Predict: path of the .h5 artifact to use
	Inputs   string   `json:"inputs,omitempty"`  // Predict: path of a pack with the images, answered in its order
	Teacher  *Teacher `json:"teacher,omitempty"` // Train: where the recipe's distill_teacher is
	Paths    Paths    `json:"paths"`
	Callback Callback `json:"callback"`
	Parts    int      `json:"parts,omitempty"` // Features: how many trainers share the work; each is told its index from 0
	// FeatureBytes is how much the activations of one training may take on the disk; 0: as much as the trainer thinks right.
	FeatureBytes int64   `json:"feature_bytes,omitempty"`
	Photos       *Photos `json:"photos,omitempty"` // Planning: what there is to say of images without a manifest; Dataset is empty then
}

// Teacher is a finished run that a training learns from as well.
type Teacher struct {
	Run     string `json:"run"`
	Model   string `json:"model"`             // path of its .h5 or .keras artifact, read only
	Unrefit string `json:"unrefit,omitempty"` // path of its UnrefitFile, if it left one
	Digest  string `json:"digest"`            // of the dataset that it was trained on
	Recipe  Recipe `json:"recipe"`            // its own, resolved
}

// Dataset names the images of a task.
type Dataset struct {
	Digest   string   `json:"digest"`   // hex SHA-256 of the canonical manifest
	Classes  []string `json:"classes"`  // the one label order
	Exclude  []string `json:"exclude"`  // hex SHA-256 of images left out by the user
	Relabel  []Edit   `json:"relabel"`  // corrections by the user
	Manifest string   `json:"manifest"` // path of manifest.jsonl
}

// Edit gives an image another class.
type Edit struct {
	SHA256 string `json:"sha256"`
	Class  string `json:"class"`
}

// Paths are the folders of one attempt on the trainer's side.
type Paths struct {
	Bases    string `json:"bases"`              // bases.json and the canonical weights, read only
	Packs    string `json:"packs"`              // packs by hash, read only
	Features string `json:"features"`           // the user's activation cache
	Attempt  string `json:"attempt"`            // this attempt's folder: <executor>/ is made below it
	Previous string `json:"previous,omitempty"` // folder of the executor whose checkpoint to continue, if any
	Start    string `json:"start,omitempty"`    // folder of the executor whose training Recipe.StartFrom goes on from, read only
	Stop     string `json:"stop"`               // flag file: when it exists, finish now with the best so far
}

// Callback is where records go. Empty URL: only the spool is written.
type Callback struct {
	URL       string `json:"url,omitempty"`        // …/internal/v1/attempts/<task>/<attempt>
	TokenFile string `json:"token_file,omitempty"` // path of the attempt's credential, read afresh at each request
}

// ParseSpec decodes and checks a spec.
func ParseSpec(b []byte) (Spec, error) {
	var s Spec
	if err := json.Unmarshal(b, &s); err != nil {
		return Spec{}, fmt.Errorf("decode spec: %w", err)
	}
	if s.Version != Version {
		return Spec{}, fmt.Errorf("spec has format version %d, but this trainer reads version %d: install server and trainer of the same release", s.Version, Version)
	}
	if err := s.Recipe.Validate(); err != nil {
		return Spec{}, fmt.Errorf("recipe: %w", err)
	}
	return s, nil
}
