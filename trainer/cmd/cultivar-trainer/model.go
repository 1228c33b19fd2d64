package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/shared/safe"
	"github.com/cultivar-ml/cultivar/trainer/internal/classify"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/evaluate"
)

// modelFlags are common to the verbs that run an exported model by hand.
type modelFlags struct {
	spec, model, preprocessing string
	json                       bool
}

func (f *modelFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.spec, "spec", "", "spec.json to work from, instead of the other flags")
	c.Flags().StringVar(&f.model, "model", "", "model file (.h5, .keras, .tflite, .onnx, .mlmodel, .html), or folder of a SavedModel or TensorFlow.js model")
	c.Flags().StringVar(&f.preprocessing, "preprocessing", "", "how photos become squares: stretch or crop (default: as the model says it was trained)")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
}

func (f *modelFlags) open() (*classify.Classifier, error) {
	if f.model == "" {
		return nil, usageError{errors.New("give --model FILE, the model to run")}
	}
	fit := data.Fit(f.preprocessing)
	if fit != "" && fit != data.Stretch && fit != data.Crop {
		return nil, usageError{fmt.Errorf("--preprocessing is %q, but must be stretch or crop", f.preprocessing)}
	}
	quietTensorFlow()
	return classify.Open(f.model, fit, runtime.GOMAXPROCS(0))
}

func predictCommand() *cobra.Command {
	var flags modelFlags
	var top int
	c := &cobra.Command{
		Use:   "predict --model FILE IMAGE|FOLDER|-…",
		Short: "Say what is on photos",
		Long: "Prints the most probable classes of each image; of a folder, all images in it and below; of -, one image from standard\n" +
			"input. It says unsure when the most probable class lies below the model's threshold: the photo may show none of its\n" +
			"classes. When all sub-folders of a folder are named as classes, the accuracy on what is in them comes last.\n" +
			"With --json one object a line.",
		RunE: func(c *cobra.Command, args []string) error {
			if flags.spec != "" {
				return runTask(c, runspec.Predict, flags.spec)
			}
			if len(args) == 0 || top < 1 {
				return usageError{errors.New("give the images or folders to look at, and --top of at least 1")}
			}
			model, err := flags.open()
			if err != nil {
				return err
			}
			defer model.Close()
			items, err := data.Files(args, model.Labels, c.InOrStdin())
			if err != nil {
				return err
			}
			return predictFiles(c, model, items, top, flags.json)
		},
	}
	flags.add(c)
	c.Flags().IntVar(&top, "top", 3, "how many classes to print for each image")
	return c
}

// prediction is one line of predict --json.
type prediction struct {
	Path   string          `json:"path"`
	Top    []runspec.Score `json:"top"`
	Unsure bool            `json:"unsure,omitempty"`
	Actual string          `json:"actual,omitempty"` // by its folder
	Error  string          `json:"error,omitempty"`
}

// outcome is the last line of predict --json when the folders say what is on the photos.
type outcome struct {
	Images    int                `json:"images"`
	Accuracy  runspec.Float      `json:"accuracy"`
	Threshold *runspec.Threshold `json:"threshold,omitempty"`
}

// predictFiles prints an answer for each item; it fails at the end when not a single one could be read.
func predictFiles(c *cobra.Command, model *classify.Classifier, items []data.Item, top int, asJSON bool) error {
	out, encoder, read := c.OutOrStdout(), json.NewEncoder(c.OutOrStdout()), 0
	var known []evaluate.Answer
	err := model.Each(c.Context(), items, "", func(a classify.Answer) error {
		item := items[a.Item]
		p := prediction{Path: item.Path, Top: []runspec.Score{}, Unsure: a.Unsure}
		if item.Class >= 0 {
			p.Actual = model.Labels[item.Class]
		}
		if a.Fault != nil {
			p.Error = a.Fault.Text
		} else {
			read++
			if item.Class >= 0 {
				known = append(known, evaluate.Answer{Path: item.Path, Class: item.Class, Probabilities: a.Probabilities})
			}
		}
		for _, class := range classify.Top(a.Probabilities, top) {
			p.Top = append(p.Top, runspec.Score{Label: model.Labels[class], Probability: runspec.Float(a.Probabilities[class])})
		}
		if asJSON {
			return encoder.Encode(p)
		}
		printPrediction(out, p)
		return nil
	})
	if err == nil && read == 0 {
		err = fmt.Errorf("none of the %d files could be read", len(items))
	}
	if err != nil || len(known) == 0 {
		return err
	}
	report := judged(model, known)
	if asJSON {
		return encoder.Encode(outcome{report.Images, report.Accuracy, report.Threshold})
	}
	fmt.Fprintf(out, "\naccuracy %.1f %% on %d images\n", 100*float64(report.Accuracy), report.Images)
	printThreshold(out, report.Threshold)
	return nil
}

// judged measures answers of a model for images whose class is known.
func judged(model *classify.Classifier, answers []evaluate.Answer) runspec.Report {
	report := evaluate.Of("all", model.Labels, answers)
	report.Threshold = evaluate.Threshold(model.Usage.Threshold, answers)
	return report
}

func printThreshold(out io.Writer, t *runspec.Threshold) {
	if t != nil {
		fmt.Fprintf(out, "unsure of %.1f %% of them, with less than %.0f %% for the most probable class; accuracy on the others %.1f %%\n",
			100*(1-float64(t.Coverage)), 100*float64(t.Probability), 100*float64(t.Accuracy))
	}
}

func printPrediction(out io.Writer, p prediction) {
	fmt.Fprintf(out, "%s:", safe.Text(p.Path))
	if p.Error != "" {
		fmt.Fprintf(out, " %s\n", safe.Text(p.Error))
		return
	}
	if p.Unsure {
		fmt.Fprint(out, " unsure;")
	}
	for i, s := range p.Top {
		if i > 0 {
			fmt.Fprint(out, ",")
		}
		fmt.Fprintf(out, " %s %.1f %%", safe.Text(s.Label), 100*float64(s.Probability))
	}
	fmt.Fprintln(out)
}

func evaluateCommand() *cobra.Command {
	var flags modelFlags
	var images string
	c := &cobra.Command{
		Use:   "evaluate --model FILE --images FOLDER",
		Short: "Measure a model on a folder with one folder of images per class",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if flags.spec != "" {
				return runTask(c, runspec.Evaluate, flags.spec)
			}
			if images == "" {
				return usageError{errors.New("give --images FOLDER, which has one folder of images per class")}
			}
			model, err := flags.open()
			if err != nil {
				return err
			}
			defer model.Close()
			return evaluateFolder(c, model, images, flags.json)
		},
	}
	flags.add(c)
	c.Flags().StringVar(&images, "images", "", "folder with one folder of images per class")
	return c
}

func evaluateFolder(c *cobra.Command, model *classify.Classifier, folder string, asJSON bool) error {
	items, err := data.ClassFolders(folder, model.Labels)
	if err != nil {
		return err
	}
	var answers []evaluate.Answer
	err = model.Each(c.Context(), items, "", func(a classify.Answer) error {
		item := items[a.Item]
		if a.Fault != nil {
			fmt.Fprintf(c.ErrOrStderr(), "%s is left out: %s\n", safe.Text(item.Path), safe.Text(a.Fault.Text))
			return nil
		}
		answers = append(answers, evaluate.Answer{Path: item.Path, Class: item.Class, Probabilities: a.Probabilities})
		return nil
	})
	if err != nil {
		return err
	}
	if len(answers) == 0 {
		return fmt.Errorf("none of the %d files in %q could be read", len(items), folder)
	}
	report := judged(model, answers)
	if asJSON {
		return json.NewEncoder(c.OutOrStdout()).Encode(report)
	}
	printReport(c.OutOrStdout(), report)
	return nil
}

func printReport(out io.Writer, r runspec.Report) {
	fmt.Fprintf(out, "accuracy %.1f %%, in the first three %.1f %%, mean F1 %.3f, calibration error %.3f, on %d images\n",
		100*float64(r.Accuracy), 100*float64(r.Top3), float64(r.MacroF1), float64(r.ECE), r.Images)
	printThreshold(out, r.Threshold)
	fmt.Fprintln(out)
	width := 5
	for _, class := range r.Classes {
		width = max(width, safe.Text(class.Class).Width())
	}
	pad := func(s safe.String) string { return fmt.Sprintf("%s%*s", s, width-s.Width(), "") }
	fmt.Fprintf(out, "%s  images  precision  recall     F1\n", pad(safe.Text("class")))
	for _, class := range r.Classes {
		fmt.Fprintf(out, "%s  %6d  %9.3f  %6.3f  %5.3f\n", pad(safe.Text(class.Class)), class.Images,
			float64(class.Precision), float64(class.Recall), float64(class.F1))
	}
	if len(r.Confused) > 0 {
		fmt.Fprintln(out, "\nmost often confused")
	}
	for _, pair := range r.Confused[:min(5, len(r.Confused))] {
		fmt.Fprintf(out, "%4d× %s taken for %s\n", pair.Count, safe.Text(pair.Actual), safe.Text(pair.Predicted))
	}
}
