// Package deliver takes results to people: a model behind a share link, a mail that says how a run ended. What is due is a
// row of the outbox, written in the transaction that ends a run; the effect comes after it, and is tried again until it
// has happened or is given up.
//
// A link happens exactly once: one file in the account and one link, whatever was lost on the way. A mail happens at least
// once: where nobody can tell whether the mail server took it, it is sent once more.
package deliver

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/mail"
	"strings"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/address"
	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Options are what an outbox is made of.
type Options struct {
	Store  *store.Store
	Config config.Deliver

	// Artifact is where a published file of a user's run lies, with what is known of it.
	Artifact func(ctx context.Context, user, run, name string) (path string, a runspec.Artifact, err error)

	Log *slog.Logger
	Now func() time.Time

	After  func(time.Duration) <-chan time.Time // default time.After
	Jitter func() float64                       // 0 to 1, spreads attempts; default math/rand/v2's
	Block  int64                                // bytes of one upload request, at most 150 MiB; default 8 MiB
	Roots  *x509.CertPool                       // whom to trust besides the system; nil: only the system
}

// Service is the outbox of one server. Its methods may be called from any goroutine; Run, once. The zero value has
// nothing to deliver with, and refuses to share.
type Service struct {
	store  *store.Store
	links  *linker // nil: Dropbox is not configured
	mails  *mailer // nil: mail is not configured
	log    *slog.Logger
	now    func() time.Time
	after  func(time.Duration) <-chan time.Time
	jitter func() float64
	wake   map[api.DeliveryKind]chan struct{}
}

// New makes an outbox. It reads no secret and calls nobody; what is wrong with the settings is its error.
func New(o Options) (*Service, error) {
	o = defaults(o)
	s := &Service{
		store: o.Store, log: o.Log, now: o.Now, after: o.After, jitter: o.Jitter,
		wake: map[api.DeliveryKind]chan struct{}{api.DeliveryLink: make(chan struct{}, 1), api.DeliveryEmail: make(chan struct{}, 1)},
	}
	if o.Config.Dropbox != nil {
		links, err := newLinker(o)
		if err != nil {
			return nil, fmt.Errorf("settings of Dropbox: %w", err)
		}
		s.links = links
	}
	if o.Config.Mail != nil {
		mails, err := newMailer(o)
		if err != nil {
			return nil, fmt.Errorf("settings of mail: %w", err)
		}
		s.mails = mails
	}
	return s, nil
}

// CanShare tells whether share links can be made, CanMail whether mail can be sent.
func (s *Service) CanShare() bool { return s.links != nil }

// CanMail tells whether mail can be sent.
func (s *Service) CanMail() bool { return s.mails != nil }

// Plan is what is due to people when a task ends so. It has no effect by itself.
func (s *Service) Plan(t store.Task, to api.State, artifacts []runspec.Artifact) []store.Delivery {
	email := ""
	if t.Notify.Email != nil {
		email = *t.Notify.Email
	}
	share := t.Notify.Share != nil && *t.Notify.Share
	if t.Kind != runspec.Train || s.store == nil {
		return nil
	}
	var out []store.Delivery
	needs := store.Delivery{}
	if model, ok := modelOf(artifacts); ok && to == api.StateSucceeded && (share || email != "") && s.links != nil {
		needs = link(t, model)
		out = append(out, needs)
	}
	switch to {
	case api.StateSucceeded, api.StateFailed, api.StateCancelled:
		if email != "" {
			out = append(out, letterTo(t, email, needs))
		}
	}
	return out
}

// modelOf is the file that people mean by "the model": Keras's, or else the first one that is a model.
func modelOf(all []runspec.Artifact) (runspec.Artifact, bool) {
	for _, format := range []string{formatH5, formatKeras, formatSavedModel, formatTFLite, formatTFLiteFloat16, formatTFLiteInt8, formatONNX, formatTFJS, formatPage, formatCoreML} {
		for _, a := range all {
			if a.Format == format {
				return a, true
			}
		}
	}
	return runspec.Artifact{}, false
}

// Formats of artifacts that are models.
const (
	formatH5            = "h5"
	formatKeras         = "keras"
	formatSavedModel    = "savedmodel"
	formatTFLite        = "tflite"
	formatTFLiteFloat16 = "tflite_float16"
	formatTFLiteInt8    = "tflite_int8"
	formatONNX          = "onnx"
	formatTFJS          = "tfjs"
	formatPage          = "html"
	formatCoreML        = "coreml"
)

func link(t store.Task, a runspec.Artifact) store.Delivery {
	return keyed(store.Delivery{Owner: t.Owner, Task: t.ID, Kind: api.DeliveryLink, Target: a.Name, Artifact: a.Name, SHA256: a.SHA256})
}

func letterTo(t store.Task, email string, needs store.Delivery) store.Delivery {
	return keyed(store.Delivery{
		Owner: t.Owner, Task: t.ID, Kind: api.DeliveryEmail, Target: email,
		Artifact: needs.Artifact, SHA256: needs.SHA256, Needs: needs.Key,
	})
}

// keyed gives a delivery its id, and the key that the same effect always has.
func keyed(d store.Delivery) store.Delivery {
	sum := sha256.Sum256([]byte(strings.Join([]string{d.Task, string(d.Kind), d.Target, d.Artifact, d.SHA256}, "\x00")))
	d.ID, d.Key = auth.NewID(), hex.EncodeToString(sum[:])
	return d
}

// Share makes deliveries of a finished run's model due, and returns them. The error is an *api.Error where the caller can
// do something about it.
func (s *Service) Share(ctx context.Context, user, run string, c api.ShareCreate) ([]store.Delivery, error) {
	if s.store == nil {
		return nil, api.Errorf(api.CodeConflict, "This server is not set up to make share links. Fetch the model with: cultivar download RUN")
	}
	t, err := s.store.Run(ctx, user, run)
	if err != nil {
		return nil, err
	}
	email := ""
	if c.Email != nil {
		email = *c.Email
	}
	if err := s.checkShare(t, email); err != nil {
		return nil, err
	}
	a, err := s.chosen(ctx, t, c.Artifact)
	if err != nil {
		return nil, err
	}
	var asked []store.Delivery
	needs := store.Delivery{}
	if s.links != nil {
		needs = link(t, a)
		asked = append(asked, needs)
	}
	if email != "" {
		asked = append(asked, letterTo(t, email, needs))
	}
	all, err := s.store.Share(ctx, asked)
	if err != nil {
		return nil, err
	}
	s.poke()
	return all, nil
}

// checkShare refuses what can't be done, with what to do instead.
func (s *Service) checkShare(t store.Task, email string) error {
	if email != "" {
		if err := address.Check(email); err != nil {
			return &api.Error{Code: api.CodeInvalid, Message: "The field email " + err.Error() + ".", Fields: &map[string]string{"email": err.Error()}}
		}
	}
	instead := fmt.Sprintf("Fetch the model with: cultivar download %d", t.Number)
	switch {
	case t.State != api.StateSucceeded && t.Ended != nil:
		return api.Errorf(api.CodeConflict, "Run #%d has %s, so it has no model to share. Start it again with: cultivar retry %d", t.Number, ended[t.State], t.Number)
	case t.State != api.StateSucceeded:
		return api.Errorf(api.CodeConflict, "Run #%d has not ended yet. Share it when it is done; to see how far it is: cultivar watch %d", t.Number, t.Number)
	case email != "" && s.mails == nil:
		return api.Errorf(api.CodeConflict, "This server is not set up to send mail. %s", instead)
	case s.links == nil && email == "":
		return api.Errorf(api.CodeConflict, "This server is not set up to make share links. %s", instead)
	}
	return nil
}

// ended says in words how a run came to its end without a model.
var ended = map[api.State]string{api.StateFailed: "failed", api.StateCancelled: "been cancelled"}

func (s *Service) chosen(ctx context.Context, t store.Task, name *string) (runspec.Artifact, error) {
	published, err := s.store.Artifacts(ctx, t.Owner, t.ID)
	if err != nil {
		return runspec.Artifact{}, err
	}
	var all []runspec.Artifact
	for _, a := range published {
		if name != nil && a.Name == *name {
			return a.Artifact, nil
		}
		all = append(all, a.Artifact)
	}
	if name != nil && *name != "" {
		return runspec.Artifact{}, api.Errorf(api.CodeNotFound, "Run #%d has no file %q.", t.Number, *name)
	}
	a, ok := modelOf(all)
	if !ok {
		return runspec.Artifact{}, api.Errorf(api.CodeConflict, "Run #%d has no model file to share. See what it has with: cultivar download %d", t.Number, t.Number)
	}
	return a, nil
}

// List is what became of a run's deliveries, oldest first.
func (s *Service) List(ctx context.Context, user, run string) ([]store.Delivery, error) {
	if s.store == nil {
		return nil, nil
	}
	return s.store.Deliveries(ctx, user, run)
}

// Retry makes a delivery due now, and returns it. A delivered one is left as it is.
func (s *Service) Retry(ctx context.Context, user, run, delivery string) (store.Delivery, error) {
	if s.store == nil {
		return store.Delivery{}, store.ErrNotFound
	}
	d, err := s.store.RetryDelivery(ctx, user, run, delivery)
	if err == nil {
		s.poke()
	}
	return d, err
}

// Idle tells whether nothing waits to be delivered, so that the server may end.
func (s *Service) Idle(ctx context.Context) (bool, error) {
	if s.store == nil {
		return true, nil
	}
	n, err := s.store.OpenDeliveries(ctx)
	return n == 0, err
}

// mailbox parses the sender's address, which may have a name.
func mailbox(from string) (*mail.Address, error) {
	a, err := mail.ParseAddress(from)
	if err != nil || strings.ContainsAny(from, "\r\n") {
		return nil, fmt.Errorf("from is %q, which is not a mail address such as cultivar@example.org", from)
	}
	return a, nil
}
