package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
)

// shareOptions are the flags of share.
type shareOptions struct {
	email, file           string
	noWait, retry, status bool
}

func (c *command) shareVerb() *cobra.Command {
	var o shareOptions
	cmd := &cobra.Command{
		Use: "share RUN", Short: "Make a link to a finished model, and mail it",
		Long: "Make a link to a finished model, and mail it. The link alone goes to standard output, all else to standard error.\n" +
			"Asking again gives the same link, and starts anew what failed. ctrl+c leaves: the server goes on.\n" +
			"RUN is an id, #14, 14 or latest. It exits with 1 when something was not delivered.",
		Example: "cultivar share latest\ncultivar share 14 --email friend@example.org\ncultivar share 14 --file labels.txt\ncultivar share 14 --status\ncultivar share 14 --retry",
	}
	flags := cmd.Flags()
	flags.StringVar(&o.email, "email", "", "also mail the link to this address")
	flags.StringVar(&o.file, "file", "", "the file to share, by its name (default: the model)")
	flags.BoolVar(&o.noWait, "no-wait", false, "return as soon as the server has the order")
	flags.BoolVar(&o.retry, "retry", false, "try now what failed or waits for its next try, and order nothing new")
	flags.BoolVar(&o.status, "status", false, "only tell what became of the run's links and mails")
	args := func(cmd *cobra.Command, args []string) error {
		if o.retry && o.status || (o.retry || o.status) && (o.email != "" || o.file != "") {
			return errors.New("--retry and --status stand alone")
		}
		if o.email != "" {
			if err := client.CheckAddress(o.email); err != nil {
				return fmt.Errorf("--email: %w", err)
			}
		}
		return cobra.ExactArgs(1)(cmd, args)
	}
	return c.onRun(cmd, args, func(ctx context.Context, cl *client.Client, run api.Run, _ []string) error {
		switch {
		case o.status:
			return c.shareStatus(ctx, cl, run)
		case o.retry:
			return c.shareRetry(ctx, cl, run, o)
		}
		return c.share(ctx, cl, run, o)
	})
}

func (c *command) share(ctx context.Context, cl *client.Client, run api.Run, o shareOptions) error {
	if err := succeeded(run); err != nil {
		return err
	}
	a, err := cl.Abilities(ctx)
	if err != nil {
		return err
	}
	home := fmt.Sprintf("Take the model home instead: cultivar download %d", run.Number)
	switch {
	case !a.Share && !a.Mail:
		return errors.New("this server is not set up to share. " + home)
	case !a.Share && o.email == "":
		return errors.New("this server is not set up to make share links; it sends mail: give an address with --email. " + home)
	case !a.Mail && o.email != "":
		return errors.New("this server is not set up to send mail. Leave --email out, and send the link yourself")
	}
	order := api.ShareCreate{}
	if o.email != "" {
		order.Email = &o.email
	}
	if o.file != "" {
		order.Artifact = &o.file
		files, err := cl.Artifacts(ctx, run.Id)
		if err == nil { // names those that there are when it is not among them
			_, err = choose(files, run, downloadOptions{name: o.file})
		}
		if err != nil {
			return err
		}
	}
	made, err := cl.Share(ctx, run.Id, order)
	if err != nil {
		return err
	}
	if len(made) == 0 {
		return errors.New("the server took the order but made nothing of it. " + home)
	}
	return c.await(ctx, cl, run, made, o)
}

// await follows deliveries to their end and prints the link.
func (c *command) await(ctx context.Context, cl *client.Client, run api.Run, of []api.Delivery, o shareOptions) error {
	k := c.courier(cl, run, c.note)
	k.bare = true
	var ids []string
	for _, d := range of {
		ids = append(ids, d.Id)
	}
	if o.noWait {
		k.all = of
		if err := k.tell(of); err != nil {
			return err
		}
		c.link(of)
		if slices.ContainsFunc(of, func(d api.Delivery) bool { return !client.Settled(d) }) {
			c.note("See how it goes: cultivar share %d --status", run.Number)
		}
		return nil
	}
	all, err := k.follow(ctx, ids, func(_ int, all []api.Delivery) bool { return k.underWay(all) })
	if errors.Is(err, context.Canceled) {
		c.note("The server goes on with it. See how it went: cultivar share %d --status", run.Number)
	}
	if err != nil {
		return err
	}
	c.link(all)
	return undelivered(run, all)
}

// link prints the share link alone, so that it can be piped.
func (c *command) link(all []api.Delivery) {
	for _, d := range all {
		if url := text(d.Url); !c.json && d.Kind == api.DeliveryLink && d.State == api.DeliveryDelivered && url != "" {
			c.say("%s", shown(url, ""))
		}
	}
}

func (c *command) shareStatus(ctx context.Context, cl *client.Client, run api.Run) error {
	all, err := cl.Deliveries(ctx, run.Id)
	if err != nil {
		return err
	}
	if len(all) == 0 && !c.json {
		verb, does := "share", "makes a link"
		if a, err := cl.Abilities(ctx); err != nil || !a.Share {
			verb, does = "download", "takes the model home"
		}
		c.say("Nothing of run #%d was shared or mailed. `cultivar %s %d` %s.", run.Number, verb, run.Number, does)
	}
	k := c.courier(cl, run, c.say)
	k.all = all
	return k.tell(all)
}

func (c *command) shareRetry(ctx context.Context, cl *client.Client, run api.Run, o shareOptions) error {
	all, err := cl.Deliveries(ctx, run.Id)
	if err != nil {
		return err
	}
	var again []api.Delivery
	for _, d := range all {
		if d.State == api.DeliveryDelivered {
			continue
		}
		if d.State == api.DeliveryFailed || d.Next != nil { // another one is under way, or goes out after the link
			if d, err = cl.RetryDelivery(ctx, run.Id, d.Id); err != nil {
				return err
			}
		}
		again = append(again, d)
	}
	if len(again) == 0 {
		c.note("Nothing of run #%d failed or waits. `cultivar share %d --status` tells all.", run.Number, run.Number)
		return nil
	}
	return c.await(ctx, cl, run, again, o)
}
