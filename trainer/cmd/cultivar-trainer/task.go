package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/shared/version"
	"github.com/cultivar-ml/cultivar/trainer/internal/attempt"
)

func trainCommand() *cobra.Command {
	var spec string
	c := &cobra.Command{
		Use:   "train --spec FILE",
		Short: "Train a classifier as a spec says",
		Long: "Trains as the spec says, which the server writes. Records go to records.jsonl in the attempt's folder and to the\n" +
			"spec's callback, files to artifacts/ beside it.\n\n" +
			"SIGTERM: leave a checkpoint for another attempt and exit with 30. SIGUSR1: finish now with the best so far.\n" +
			"Exit codes: 0 done, 10 bad spec, 11 no image, 12 one class, 13 too few images, 14 no base model, 15 damaged data,\n" +
			"16 cancelled, 17 disk full, 30 interrupted, others unexpected.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runTask(c, runspec.Train, spec) },
	}
	c.Flags().StringVar(&spec, "spec", "", "spec.json to work from")
	_ = c.MarkFlagRequired("spec") // fails only for a flag that does not exist
	return c
}

// partEnv is how Kubernetes tells each pod of an Indexed Job its number.
const partEnv = "JOB_COMPLETION_INDEX"

func featuresCommand() *cobra.Command {
	var spec string
	c := &cobra.Command{
		Use:   "features --spec FILE",
		Short: "Compute features ahead of a training, alone or as one of several",
		Long: "Fills the activation cache with what a training of the same images and recipe needs, so that it decodes nothing. Of a\n" +
			"spec in several parts it computes the one that " + partEnv + " names, from 0; all of them may run at once.\n\n" +
			"SIGTERM: what is computed is kept, exit with 30. A second run computes only what is missing.\n" +
			"Exit codes are those of train.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runTask(c, runspec.Features, spec) },
	}
	c.Flags().StringVar(&spec, "spec", "", "spec.json to work from")
	_ = c.MarkFlagRequired("spec") // fails only for a flag that does not exist
	return c
}

func planCommand() *cobra.Command {
	var spec string
	c := &cobra.Command{
		Use:   "plan --spec FILE",
		Short: "Say what a training would take, in time and on disk",
		Long: "Says for the spec's recipe and for each preset how long a training would take on this machine and what it would add on\n" +
			"disk, from what trainings before it took. What was never measured is measured first, within seconds. The answers are\n" +
			"records of type plan in records.jsonl.\n\nExit codes are those of train.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runTask(c, runspec.Planning, spec) },
	}
	c.Flags().StringVar(&spec, "spec", "", "spec.json to work from")
	_ = c.MarkFlagRequired("spec") // fails only for a flag that does not exist
	return c
}

// part is this process' number among those that share a task; 0 when it was told none.
func part() (int, error) {
	text := os.Getenv(partEnv)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, &attempt.Failure{Code: runspec.ExitBadSpec, Text: fmt.Sprintf("%s is %q, which is no number", partEnv, text)}
	}
	return n, nil
}

// runTask does the task of a spec, which must be of that kind.
func runTask(c *cobra.Command, kind runspec.Kind, path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return &attempt.Failure{Code: runspec.ExitBadSpec, Text: fmt.Sprintf("the spec cannot be read (%v)", err)}
	}
	spec, err := runspec.ParseSpec(content)
	if err != nil {
		return &attempt.Failure{Code: runspec.ExitBadSpec, Text: fmt.Sprintf("%q: %v", path, err)}
	}
	if spec.Kind != kind {
		return &attempt.Failure{Code: runspec.ExitBadSpec, Text: fmt.Sprintf("%q is a spec to %s, not to %s", path, spec.Kind, kind)}
	}
	number, err := part()
	if err != nil {
		return err
	}
	quietTensorFlow()
	stop := make(chan struct{}, 1)
	usr1 := make(chan os.Signal, 1)
	signal.Notify(usr1, syscall.SIGUSR1)
	defer signal.Stop(usr1)
	go func() {
		for range usr1 {
			select {
			case stop <- struct{}{}:
			default: // told already
			}
		}
	}()
	_, err = attempt.Run(c.Context(), spec, attempt.Options{Version: version.String(), Stop: stop, Part: number})
	return err
}
