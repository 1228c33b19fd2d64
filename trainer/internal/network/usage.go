package network

import (
	"encoding/json"
	"fmt"
)

// Usage is what a program must know, beside the class names, to use a classifier as it was trained. Exported files carry it
// as JSON, {"preprocessing":"stretch","threshold":0.62}; a file without it is used as the zero value says.
type Usage struct {
	// Crop says that photos become squares by cutting out their middle; otherwise they are stretched.
	Crop bool
	// Threshold is the probability of the most probable class, 0…1, below which the answer is "unsure"; 0: there is none.
	Threshold float64
}

// Names of the usage: of what holds it in formats that keep named texts, and of its file in those that hold files.
const (
	UsageName = "cultivar_usage"
	UsageFile = "usage.json"
)

// usageText is Usage as files spell it.
type usageText struct {
	Preprocessing string  `json:"preprocessing"` // as the recipe spells it
	Threshold     float64 `json:"threshold,omitempty"`
}

// The ways in which photos become squares.
const (
	stretch = "stretch"
	crop    = "crop"
)

// Preprocessing names the way in which photos become squares as recipes do: stretch or crop.
func (u Usage) Preprocessing() string {
	if u.Crop {
		return crop
	}
	return stretch
}

// MarshalJSON writes what UnmarshalJSON reads.
func (u Usage) MarshalJSON() ([]byte, error) {
	return json.Marshal(usageText{u.Preprocessing(), u.Threshold})
}

// UnmarshalJSON reads a usage; the error says what it asks for that there is not.
func (u *Usage) UnmarshalJSON(text []byte) error {
	var t usageText
	if err := json.Unmarshal(text, &t); err != nil {
		return fmt.Errorf("usage: %w", err)
	}
	if t.Preprocessing != "" && t.Preprocessing != stretch && t.Preprocessing != crop {
		return fmt.Errorf("usage: photos are to be prepared by %q; only %s and %s are known", t.Preprocessing, stretch, crop)
	}
	if !(t.Threshold >= 0 && t.Threshold <= 1) {
		return fmt.Errorf("usage: the threshold is %v, which is no probability", t.Threshold)
	}
	*u = Usage{Crop: t.Preprocessing == crop, Threshold: t.Threshold}
	return nil
}
