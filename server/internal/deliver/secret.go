package deliver

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
)

// secret is a text that shows in no log, error or dump.
type secret string

const redacted = "[secret]"

// String hides it.
func (secret) String() string { return redacted }

// GoString hides it from %#v.
func (secret) GoString() string { return redacted }

// LogValue hides it from slog.
func (secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides it from encoders.
func (secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// readSecret reads a secret each time it is used, so that a changed file counts at once. what names it in the error.
func readSecret(path, what string) (secret, error) {
	b, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(b)) == "" {
		err = &fs.PathError{Op: "read", Path: path, Err: errors.New("it is empty")}
	}
	if err != nil {
		return "", &problem{text: fmt.Sprintf("This server cannot read its %s. Ask its admin.", what), err: err}
	}
	return secret(strings.TrimSpace(string(b))), nil
}
