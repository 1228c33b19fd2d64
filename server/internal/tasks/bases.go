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

// Bases lists the installed base models, best first, as the trainer wrote them down. Read afresh at each call: bases can
// be installed while the server runs.
func (s *Service) Bases() ([]api.Base, error) {
	b, err := os.ReadFile(filepath.Join(s.bases, runspec.BasesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return []api.Base{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read base models: %w", err)
	}
	out := []api.Base{}
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("read base models: %w", err)
	}
	return out, nil
}
