package runspec

import "time"

// SpeedsFile lies beside BasesFile and lists how fast the base models are: a JSON array of Speed, one for a base.
const SpeedsFile = "speeds.json"

// Speed is how fast a base model was on the machine that it was measured on.
type Speed struct {
	Base       string    `json:"base"`
	MsPerImage float64   `json:"ms_per_image"` // milliseconds an image at the base's own size, all cores busy, decoding not counted
	Machine    string    `json:"machine"`      // processor and cores, for people
	Measured   time.Time `json:"measured"`     // UTC
}
