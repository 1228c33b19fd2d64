package doctor

import (
	"context"
	"log/slog"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/deliver"
)

// deliveries tries Dropbox and mail.
func (e *examination) deliveries(ctx context.Context) []Check {
	service, err := deliver.New(deliver.Options{Config: e.Config.Deliver, Roots: e.Roots, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		return []Check{failed("deliveries", "Mend the settings under deliver; the server does not start with them.", "%v", err)}
	}
	var out []Check
	if !service.CanShare() {
		out = append(out, ok(deliver.Dropbox, "not set up, so there are no share links"))
	}
	for _, f := range service.Check(ctx) {
		c := Check{Name: f.What, State: OK, Text: f.Text, Remedy: f.Remedy}
		switch {
		case f.Passing:
			c.State = Warning
		case f.Remedy != "":
			c.State = Failed
		}
		out = append(out, c)
	}
	if !service.CanMail() {
		out = append(out, ok(deliver.Mail, "not set up, so nobody is mailed"))
	}
	return out
}
