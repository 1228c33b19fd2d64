package tasks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// floatBytes is the size of a weight.
const floatBytes = 4

// Bases lists the installed base models, best first, as the trainer wrote them down, with what was measured of their
// speed. Read afresh at each call: bases can be installed and measured while the server runs.
func (s *Service) Bases() ([]api.Base, error) {
	out := []api.Base{}
	if err := readList(filepath.Join(s.bases, runspec.BasesFile), &out); err != nil {
		return nil, fmt.Errorf("read base models: %w", err)
	}
	var speeds []runspec.Speed
	if err := readList(filepath.Join(s.bases, runspec.SpeedsFile), &speeds); err != nil {
		s.log.Warn("the speeds of base models cannot be read; measure them again with cultivar-trainer bases measure", "error", err)
	}
	for i := range out {
		b := &out[i]
		b.Bytes = floatBytes * b.Params
		for _, speed := range speeds {
			if speed.Base == b.Name && speed.MsPerImage > 0 {
				b.MsPerImage, b.MeasuredOn = &speed.MsPerImage, &speed.Machine
			}
		}
	}
	return out, nil
}

// readList decodes a file; one that is absent leaves list as it is.
func readList(path string, list any) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, list); err != nil {
		return fmt.Errorf("%q is damaged: %w", path, err)
	}
	return nil
}
