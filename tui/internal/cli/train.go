package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/shared/version"
)

// completionTime bounds what a shell waits for after the tab key.
const completionTime = 3 * time.Second

// trainOptions are the flags of train besides the recipe's.
type trainOptions struct {
	name   string
	detach bool
	output string
	force  bool
	strict bool
	wishes wishes
}

func (c *command) trainVerb() *cobra.Command {
	var o trainOptions
	cmd := &cobra.Command{
		Use:   "train FOLDER",
		Short: "Train a classifier and take the model files home",
		Long: "Train a classifier on a folder with one folder of photos per class, and take the model files home.\n" +
			"ctrl+c leaves: the training goes on, and `cultivar watch` shows it again.",
		Example: "cultivar train ~/photos/flowers\ncultivar train ~/photos/flowers --email me@example.org\ncultivar train ~/photos/flowers --preset best --epochs 30 --output ~/models\ncultivar train ~/photos/flowers --start-from latest\ncultivar train ~/photos/flowers --base mobilenet_v2 --distill 14\ncultivar train ~/photos/flowers --detach --json",
		Args:    usage(cobra.ExactArgs(1)),
	}
	flags := cmd.Flags()
	flags.StringVar(&o.name, "name", "", "name of the run and its files (default: the folder's name)")
	wait := flags.Bool("wait", true, "follow the training to its end and download the model; the default")
	flags.BoolVarP(&o.detach, "detach", "d", false, "return as soon as the training is queued")
	flags.StringVarP(&o.output, "output", "o", ".", "folder for the model files")
	flags.BoolVar(&o.force, "force", false, "replace files of the same name")
	flags.BoolVar(&o.strict, "strict", false, "do not train when the photos have errors or warnings; exit with 6")
	flags.StringVar(&o.wishes.email, "email", "", "mail the result to this address when the training has ended")
	flags.BoolVar(&o.wishes.share, "share", false, "put the model behind a share link when the training has ended")
	flags.StringVar(&o.wishes.profile, "profile", "", "machine size of the server to train on (default: its first)")
	_ = cmd.RegisterFlagCompletionFunc("profile", c.profileNames) // fails only for a flag that there is not
	recipe := recipeFlags(flags)
	flags.SetNormalizeFunc(shortNames)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := recipe()
		if err == nil && o.detach && flags.Changed("wait") && *wait {
			err = errors.New("--wait and --detach exclude each other")
		}
		o.detach = o.detach || !*wait
		if err == nil {
			err = o.wishes.check()
		}
		if err != nil {
			return usageOf(cmd, err)
		}
		return c.train(cmd.Context(), args[0], r, o)
	}
	return cmd
}

func (c *command) train(ctx context.Context, folder string, recipe runspec.Recipe, o trainOptions) error {
	if err := writable(o.output, o.detach); err != nil {
		return err
	}
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	if err := c.greet(ctx, cl); err != nil {
		return err
	}
	if err := o.wishes.possible(ctx, cl); err != nil {
		return err
	}
	if err := findRuns(ctx, cl, &recipe); err != nil {
		return err
	}
	m, err := c.scan(ctx, folder)
	if err != nil {
		return err
	}
	if err := c.scanned(m, o.strict); err != nil {
		return err
	}
	set, err := c.upload(ctx, cl, folder, m, o.name)
	if err != nil {
		return err
	}
	request := api.RunCreate{Dataset: set.Id, Recipe: &recipe}
	if o.name != "" {
		request.Name = &o.name
	}
	o.wishes.order(&request)
	if err := ctx.Err(); err != nil {
		return err
	}
	// Not cut off by ctrl+c: the server may have made the run already, and then its number has to be told.
	run, err := cl.CreateRun(context.WithoutCancel(ctx), request)
	if err != nil {
		return err
	}
	if err := c.started(run, o.detach); err != nil || o.detach {
		return err
	}
	return c.finish(ctx, cl, run, len(m.Classes), &downloadOptions{output: o.output, force: o.force})
}

// findRuns makes the runs that a recipe starts and learns from ids; they may be named as all verbs take a run. One that
// cannot be it is refused before photos are sent.
func findRuns(ctx context.Context, cl *client.Client, recipe *runspec.Recipe) error {
	for _, name := range []*string{&recipe.StartFrom, &recipe.Teacher} {
		if *name == "" {
			continue
		}
		run, err := find(ctx, cl, *name)
		if err != nil {
			return err
		}
		if err := succeeded(run); err != nil {
			return errors.New("nothing can be learned from it: " + err.Error()) // not with the exit code of this training
		}
		*name = run.Id
	}
	return nil
}

// profileNames completes --profile with what the server has.
func (c *command) profileNames(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	cl, err := c.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	a, err := cl.Abilities(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, p := range a.Profiles {
		out = append(out, shown(p.Name, "")+"\t"+shown(p.Description, ""))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// greet makes sure, before the work begins, that the server answers, and warns when it is of another release.
func (c *command) greet(ctx context.Context, cl *client.Client) error {
	v, err := cl.Version(ctx)
	if err != nil {
		return err
	}
	if v.Version != version.Version {
		c.note("This program is of release %s and the server of %s; if something fails, install the same of both.", version.Version, shown(v.Version, "none"))
	}
	return nil
}

// scanned tells what was found and refuses what cannot be trained on.
func (c *command) scanned(m *manifest.Manifest, strict bool) error {
	r := reportOf(m)
	if c.json {
		if err := c.emit("scan", r); err != nil {
			return err
		}
	} else {
		c.say("%s: %s in %s", shown(m.Name, "folder"), count(r.Images, "image", "images"), count(len(r.Classes), "class", "classes"))
		if n := len(m.Problems); n > 0 {
			c.note("%s to know about; `cultivar check` lists them", count(n, "thing", "things"))
		}
	}
	if len(m.Classes) < manifest.MinClasses {
		for _, p := range m.Problems {
			if p.Reason == manifest.NoClasses || p.Reason == manifest.OneClass {
				return codedError{errors.New(p.Text), exitProblems}
			}
		}
		return codedError{fmt.Errorf("a classifier needs photos of at least %d classes, one folder for each; this folder has %d", manifest.MinClasses, len(m.Classes)), exitProblems}
	}
	if strict {
		return strictly(m)
	}
	return nil
}

// uploadEvent is the line of --json that says what an upload took.
type uploadEvent struct {
	Dataset     string `json:"dataset"`
	Images      int    `json:"images"`
	KnownImages int    `json:"known_images"`
	Bytes       int64  `json:"bytes"`
}

func (c *command) upload(ctx context.Context, cl *client.Client, folder string, m *manifest.Manifest, name string) (api.Dataset, error) {
	meter := &meter{c: c}
	defer meter.end()
	var last client.UploadProgress
	set, err := cl.Upload(ctx, folder, m, client.UploadOptions{Name: name, Progress: func(p client.UploadProgress) {
		if p.Retrying != "" && last.Retrying == "" {
			meter.end()
			c.note("%s Trying again by itself.", shown(p.Retrying, ""))
		}
		last = p
		detail := fmt.Sprintf("%s of %s", size(p.SentBytes), size(p.Bytes))
		if p.Rate > 0 {
			detail += fmt.Sprintf(", %s/s", size(int64(p.Rate)))
		}
		if p.Bytes > 0 {
			meter.set("sending", p.SentBytes, p.Bytes, detail)
		}
	}})
	if errors.Is(err, context.Canceled) {
		meter.end()
		c.note("Stopped sending. What arrived is kept: the same command goes on from there.")
	}
	if err != nil {
		return api.Dataset{}, err
	}
	if c.json {
		return set, c.emit("upload", uploadEvent{set.Id, last.Images, last.KnownImages, last.SentBytes})
	}
	meter.end()
	if last.KnownImages == last.Images {
		c.note("All images are at the server already.")
	}
	return set, nil
}

// runEvent is the line of --json for a new run.
type runEvent struct {
	Run api.Run `json:"run"`
}

func (c *command) started(run api.Run, detach bool) error {
	if c.json {
		return c.emit("run", runEvent{run})
	}
	c.say("Run #%d, %s, %s.", run.Number, shown(run.Name, "unnamed"), stateWords(run.State))
	if detach {
		c.say("Watch it: cultivar watch %d", run.Number)
	}
	return nil
}

// resultEvent is the last line of --json.
type resultEvent struct {
	Run          string         `json:"run"`
	Number       int            `json:"number"`
	State        api.State      `json:"state"`
	Reason       string         `json:"reason,omitempty"`
	ValAccuracy  *runspec.Float `json:"val_accuracy"`
	TestAccuracy *runspec.Float `json:"test_accuracy"`
	Files        []string       `json:"files"`
}

// finish follows a run to its end, tells the result, and downloads the model files when home is not nil.
func (c *command) finish(ctx context.Context, cl *client.Client, run api.Run, classes int, home *downloadOptions) error {
	f, err := c.follow(ctx, cl, run)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			c.note("The training goes on. Watch it: cultivar watch %d · end it: cultivar stop %d", run.Number, run.Number)
		}
		return err
	}
	out := resultEvent{Run: f.run.Id, Number: f.run.Number, State: f.run.State, Files: []string{}}
	out.ValAccuracy, out.TestAccuracy = asFloat(f.run.ValAccuracy), asFloat(f.run.TestAccuracy)
	if f.run.Reason != nil {
		out.Reason = *f.run.Reason
	}
	if f.result != nil {
		out.ValAccuracy, out.TestAccuracy = &f.result.ValAccuracy, f.result.TestAccuracy
	}
	failed := f.run.State != api.StateSucceeded
	if !c.json {
		f.verdict(out, classes)
	}
	if !failed && home != nil {
		if out.Files, err = c.takeHome(ctx, cl, f.run, *home); err != nil {
			return err
		}
	}
	if !failed && home == nil && !c.json {
		c.note("Take the model home: cultivar download %d", f.run.Number)
	}
	if err := c.handOver(ctx, cl, f.run); err != nil {
		return err
	}
	if c.json {
		if err := c.emit("result", out); err != nil {
			return err
		}
	}
	if failed {
		return codedError{fmt.Errorf("run #%d %s: %s", f.run.Number, f.run.State, shown(out.Reason, "no reason given")), exitTraining}
	}
	return nil
}

// verdict says how good the model is, in words.
func (f *follower) verdict(r resultEvent, classes int) {
	c := f.c
	if r.State != api.StateSucceeded {
		return
	}
	images := 0
	if f.eval != nil {
		images = f.eval.Images
	}
	switch {
	case r.TestAccuracy != nil:
		c.say("\nTest accuracy %s. %s", percent(float64(*r.TestAccuracy)), inWords(float64(*r.TestAccuracy), images, classes))
	case r.ValAccuracy != nil:
		c.say("\nValidation accuracy %s. %s", percent(float64(*r.ValAccuracy)), inWords(float64(*r.ValAccuracy), images, classes))
	}
	if f.eval != nil && len(f.eval.Confused) > 0 {
		p := f.eval.Confused[0]
		c.say("Most often wrong: %s taken for %s (%s). All of it: cultivar results %d", shown(p.Actual, ""), shown(p.Predicted, ""), count(p.Count, "time", "times"), r.Number)
	}
}

func asFloat(f *float32) *runspec.Float {
	if f == nil {
		return nil
	}
	// Rounded to the digits it has, so that 0.9 stays 0.9 and does not become 0.8999999761581421.
	v := runspec.Float(math.Round(float64(*f)*1e7) / 1e7)
	return &v
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
