package main

import (
	"fmt"
	"os"
	"os/signal"
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
			"16 cancelled, 30 interrupted, others unexpected.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runTask(c, runspec.Train, spec) },
	}
	c.Flags().StringVar(&spec, "spec", "", "spec.json to work from")
	_ = c.MarkFlagRequired("spec") // fails only for a flag that does not exist
	return c
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
	_, err = attempt.Run(c.Context(), spec, attempt.Options{Version: version.String(), Stop: stop})
	return err
}
