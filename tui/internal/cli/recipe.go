package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// recipeFlags makes a flag of each field of the recipe table and returns what builds the recipe once they are parsed.
func recipeFlags(flags *pflag.FlagSet) func() (runspec.Recipe, error) {
	var given []*recipeFlag
	for _, f := range runspec.Fields() {
		v := &recipeFlag{field: f}
		given = append(given, v)
		flags.Var(v, flagName(f.Name), flagHelp(f))
	}
	return func() (runspec.Recipe, error) {
		preset := runspec.Quick
		for _, v := range given {
			if v.field.Name == "preset" && v.set {
				preset = runspec.Preset(v.text)
			}
		}
		r := runspec.Default(preset)
		for _, v := range given {
			if v.set {
				if err := v.field.Set(&r, v.text); err != nil {
					return r, asFlag(err)
				}
			}
		}
		return r, asFlag(r.Validate())
	}
}

func flagName(field string) string { return strings.ReplaceAll(field, "_", "-") }

// teacherFlag is the field's flag and what it may be called for short.
const teacherFlag, teacherShort = "distill-teacher", "distill"

// shortNames lets flags be called by their short names.
func shortNames(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if name == teacherShort {
		name = teacherFlag
	}
	return pflag.NormalizedName(name)
}

// asFlag calls a field by its flag.
func asFlag(err error) error {
	var fe *runspec.FieldError
	if !errors.As(err, &fe) {
		return err
	}
	return errors.New(strings.Replace(fe.Text, fe.Field, "--"+flagName(fe.Field), 1))
}

// flagHelp is a field's sentence, what may be given, and the presets' values.
func flagHelp(f runspec.Field) string {
	var b strings.Builder
	b.WriteString(f.Help)
	switch {
	case f.Values != nil && f.Type == runspec.List:
		fmt.Fprintf(&b, " Any of %s, with commas.", strings.Join(f.Values, ", "))
	case f.Values != nil:
		fmt.Fprintf(&b, " One of %s.", strings.Join(f.Values, ", "))
	case f.Type == runspec.Integer:
		fmt.Fprintf(&b, " From %.0f to %.0f.", f.Min, f.Max)
	case f.Type == runspec.Number:
		fmt.Fprintf(&b, " From %g to %g.", f.Min, f.Max)
	}
	quick, balanced, best := f.Default(runspec.Quick), f.Default(runspec.Balanced), f.Default(runspec.Best)
	switch {
	case f.Name == "preset":
		fmt.Fprintf(&b, " (default %s)", quick)
	case quick != balanced || quick != best:
		fmt.Fprintf(&b, " (default: quick %s, balanced %s, best %s)", quick, balanced, best)
	case !f.Auto && quick != "":
		fmt.Fprintf(&b, " (default %s)", quick)
	}
	return b.String()
}

// recipeFlag is the value of one field's flag. It is checked with the whole recipe, except for a preset, which must be
// known to find the defaults.
type recipeFlag struct {
	field runspec.Field
	text  string
	set   bool
}

func (v *recipeFlag) String() string { return v.text }

func (v *recipeFlag) Type() string {
	if v.field.Unit != "" {
		return v.field.Unit
	}
	switch v.field.Type {
	case runspec.Integer, runspec.Number:
		return "number"
	case runspec.List:
		return "list"
	case runspec.Text:
	}
	return "name"
}

func (v *recipeFlag) Set(text string) error {
	r := runspec.Default(runspec.Quick)
	if err := v.field.Set(&r, text); err != nil {
		return asFlag(err)
	}
	if v.field.Name == "preset" {
		if err := r.Validate(); err != nil {
			return asFlag(err)
		}
	}
	v.text, v.set = text, true
	return nil
}
