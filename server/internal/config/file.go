package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds a settings file, bytes.
const maxFile = 1 << 20

// Load reads settings from a YAML file. It is strict: a key that does not exist is refused with its line and the nearest
// one that does.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("read settings: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("read settings: %w", err)
	}
	if len(b) > maxFile {
		return Config{}, fmt.Errorf("read settings: %s has more than %d bytes; is it the right file?", path, maxFile)
	}
	c, err := Parse(b)
	if err != nil {
		return Config{}, fmt.Errorf("read settings: %s: %w", path, err)
	}
	return c, nil
}

// Parse reads settings as Load does.
func Parse(b []byte) (Config, error) {
	var c Config
	var doc yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return c, nil // all defaults
	} else if err != nil {
		return c, plain(err)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return c, errors.New("it has several documents (---), but one is read: put all into one")
	}
	if err := errors.Join(known(&doc, reflect.TypeFor[Config](), "")...); err != nil {
		return c, err
	}
	if err := doc.Decode(&c); err != nil {
		return c, plain(err)
	}
	return c, nil
}

// plain takes the library's name off an error.
func plain(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = strings.ReplaceAll(strings.TrimPrefix(text, "unmarshal errors:\n"), "\n  ", "; ")
	return errors.New(strings.TrimSpace(text))
}

// known compares the keys of a node with the fields of the type it is for.
func known(n *yaml.Node, t reflect.Type, at string) []error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case n.Kind == yaml.DocumentNode:
		return known(n.Content[0], t, at)
	case n.Kind == yaml.AliasNode:
		return []error{fmt.Errorf("line %d: aliases (*) are not read: write the value out", n.Line)}
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		var errs []error
		for _, item := range n.Content {
			errs = append(errs, known(item, t.Elem(), at)...)
		}
		return errs
	case n.Kind != yaml.MappingNode || t.Kind() != reflect.Struct:
		return nil // of the wrong kind: decoding says so
	}
	fields := map[string]reflect.Type{}
	for f := range t.Fields() {
		fields[f.Tag.Get("yaml")] = f.Type
	}
	var errs []error
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		field, ok := fields[key.Value]
		if !ok {
			errs = append(errs, fmt.Errorf("line %d: there is no setting %q%s", key.Line, at+key.Value, meant(key.Value, at, fields)))
			continue
		}
		errs = append(errs, known(value, field, at+key.Value+".")...)
	}
	return errs
}

// meant suggests the field nearest to a name, when one is near.
func meant(name, at string, fields map[string]reflect.Type) string {
	best, least := "", len(name)/2+2
	for f := range fields {
		if d := distance(name, f); d < least || d == least && f < best {
			best, least = f, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", at+best)
}

// distance is how many letters must be added, removed or replaced to make b of a (Levenshtein 1965), by rows of the table.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// YAML writes settings as Load reads them.
func (c Config) YAML() ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(c), e.Close()); err != nil {
		return nil, fmt.Errorf("write settings: %w", err)
	}
	return b.Bytes(), nil
}
