package bases

import (
	"errors"
	"fmt"
	"os"
)

// Copy adds every base installed in the folder from to the folder to and returns them. Each file is checked as Load
// checks it before it is copied; what is there already, undamaged, is left alone, another entry of the same name is
// replaced as Install replaces it, and other bases in to stay.
func Copy(from, to string) ([]Entry, error) {
	catalog, err := Open(from)
	if err != nil {
		return nil, err
	}
	if len(catalog.Entries) == 0 {
		return nil, fmt.Errorf("copy base models: none is installed in %q", from)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return nil, fmt.Errorf("copy base models: %w", err)
	}
	var errs []error
	var copied []Entry
	for _, entry := range catalog.Entries {
		if err := copyOne(from, to, entry); err != nil {
			errs = append(errs, fmt.Errorf("copy base model %s to %q: %w", entry.Name, to, err))
			continue
		}
		copied = append(copied, entry)
	}
	return copied, errors.Join(errs...)
}

func copyOne(from, to string, entry Entry) error {
	data, err := entry.read(from)
	if err != nil {
		return err
	}
	if _, _, err := entry.parse(data); err != nil {
		return err
	}
	return store(to, entry, data)
}
