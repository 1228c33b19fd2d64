package report

import (
	"slices"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// setting is a field of the recipe as it was used.
type setting struct {
	Title, Value, Help string
	From               string // who chose it
}

// Who chose a setting.
const (
	fromPreset = "preset"
	fromOwner  = "set by hand"
	fromStart  = "chosen at the start"
)

// settings lists the recipe as plain values, without fields that had no effect.
func settings(asked, used runspec.Recipe) []setting {
	without := map[string]bool{"dropout": used.Head != "dense"}
	if used.FinetuneEpochs == 0 {
		for _, f := range []string{"finetune_rate", "cut", "label_smoothing", "mixup", "ensemble"} {
			without[f] = true
		}
	}
	if used.Teacher == "" {
		for _, f := range []string{"distill_teacher", "distill_temperature", "distill_weight"} {
			without[f] = true
		}
	}
	without["prune"], without["time_budget_seconds"], without["start_from"] = used.Prune == 0, used.TimeBudget == 0, used.StartFrom == ""
	without["ensemble"] = without["ensemble"] || used.Prune > 0
	changed := asked.Changed()
	var all []setting
	for _, f := range runspec.Fields() {
		if without[f.Name] {
			continue
		}
		s := setting{Title: f.Title, Value: f.Get(used), Help: f.Help, From: fromPreset}
		switch {
		case s.Value == "", f.Name == "finetune_epochs" && used.FinetuneEpochs == 0:
			s.Value = "none"
		case s.Value == "1":
			s.Value += " " + strings.TrimSuffix(f.Unit, "s")
		default:
			s.Value = strings.ReplaceAll(s.Value, ",", ", ") + " " + f.Unit
		}
		s.Value = strings.TrimSpace(s.Value)
		switch {
		case f.Name == "preset":
			s.From = fromOwner
		case f.Get(asked) != f.Get(used):
			s.From = fromStart
		case slices.Contains(changed, f.Name):
			s.From = fromOwner
		}
		all = append(all, s)
	}
	return all
}
