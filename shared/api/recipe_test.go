package api_test

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// recipeSchema reads the properties of schema Recipe: one line of JSON each.
func recipeSchema(t *testing.T) (names []string, props map[string]map[string]any) {
	t.Helper()
	_, rest, ok := strings.Cut(string(api.Spec), "\n    Recipe:\n")
	if !ok {
		t.Fatal("openapi.yaml has no schema Recipe")
	}
	block, _, _ := strings.Cut(rest, "\n    RunCreate:\n")
	if !strings.Contains(block, "x-go-type: runspec.Recipe") {
		t.Error("schema Recipe no longer stands for runspec.Recipe")
	}
	props = map[string]map[string]any{}
	for line := range strings.Lines(block) {
		name, text, ok := strings.Cut(strings.TrimSpace(line), ": {\"")
		if !ok {
			continue
		}
		var p map[string]any
		if err := json.Unmarshal([]byte("{\""+text), &p); err != nil {
			t.Fatalf("property %s: %v", name, err)
		}
		names, props[name] = append(names, name), p
	}
	return names, props
}

func TestRecipeSchemaEqualsTable(t *testing.T) {
	names, props := recipeSchema(t)
	var want []string
	for _, f := range runspec.Fields() {
		want = append(want, f.Name)
		t.Run(f.Name, func(t *testing.T) { compareField(t, f, props[f.Name]) })
	}
	if !reflect.DeepEqual(names, want) {
		t.Errorf("openapi.yaml has the fields %v, the table %v: run go generate in shared/api", names, want)
	}
}

func compareField(t *testing.T, f runspec.Field, p map[string]any) {
	t.Helper()
	if p == nil {
		t.Fatal("not in openapi.yaml: run go generate in shared/api")
	}
	same := func(key string, want any) {
		t.Helper()
		if !reflect.DeepEqual(p[key], want) {
			t.Errorf("%s is %v in openapi.yaml and %v in the table", key, p[key], want)
		}
	}
	same("type", string(f.Type))
	same("description", f.Help)
	text := f.Default(runspec.Quick)
	switch f.Type {
	case runspec.Integer, runspec.Number:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		same("default", n)
		same("maximum", f.Max)
		if f.Auto {
			same("minimum", 0.0)
			same("x-auto-minimum", f.Min)
		} else {
			same("minimum", f.Min)
		}
	case runspec.Text:
		same("default", text)
		same("enum", list(f.Values))
	case runspec.List:
		same("default", list(strings.Split(text, ",")))
		same("items", map[string]any{"type": "string", "enum": list(f.Values)})
	}
}

// list is what JSON makes of a list of strings; nil for none.
func list(s []string) any {
	if s == nil {
		return nil
	}
	out := make([]any, len(s))
	for i := range s {
		out[i] = s[i]
	}
	return out
}

func TestErrorCodesSurviveHTTP(t *testing.T) {
	for _, code := range []api.ErrorCode{
		api.CodeInvalid, api.CodeNotFound, api.CodeConflict, api.CodeUnauthorized,
		api.CodeForbidden, api.CodeTooLarge, api.CodeUnavailable, api.CodeInternal,
	} {
		if got := api.CodeOf(api.Status(code)); got != code {
			t.Errorf("%s becomes HTTP %d and comes back as %s", code, api.Status(code), got)
		}
	}
}
