// Package podtoken checks the tokens by which pods prove which attempt they execute: JSON Web Tokens that Kubernetes
// projects into a pod for one audience (https://kubernetes.io/docs/concepts/security/service-accounts/). They are verified
// offline, by the cluster's public keys; the package asks the API server for nothing else and may create nothing.
package podtoken

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/server/internal/tasks"
	"github.com/cultivar-ml/cultivar/shared/api"
)

const (
	// Leeway is how far the clocks of this machine and of the API server may differ.
	Leeway = 30 * time.Second
	// maxToken bounds a token, bytes; those of Kubernetes have about 1 200.
	maxToken = 8 << 10
)

// algorithms are those Kubernetes signs with. A fixed list keeps a token from choosing how it is checked (RFC 8725, 3.1).
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256}

// Options are what pods' credentials are checked by.
type Options struct {
	Path      string                                    // of the token in the pod
	Namespace string                                    // of the pods
	Audience  func(task string, attempt int) string     // whom an attempt's token is meant for
	Issuer    func(ctx context.Context) (string, error) // who signs; asked together with Keys
	Keys      func(ctx context.Context) ([]byte, error) // the public keys, a JSON Web Key Set
	Now       func() time.Time
	Log       *slog.Logger // told when keys cannot be read
}

// Credentials are the tokens of a cluster's pods. It implements tasks.Credentials.
type Credentials struct {
	o    Options
	keys keyring
}

// New returns Credentials. Nothing is asked before the first Check.
func New(o Options) *Credentials {
	return &Credentials{o: o, keys: keyring{keys: o.Keys, issuer: o.Issuer, now: o.Now, log: o.Log}}
}

// Issue implements tasks.Credentials: Kubernetes puts the token into the pod, and renews it there.
func (c *Credentials) Issue(context.Context, store.Task, store.Attempt) (string, error) {
	return c.o.Path, nil
}

// claims are what a token says, beside the registered ones.
type claims struct {
	Kubernetes struct {
		Namespace string `json:"namespace"`
		Pod       struct {
			UID string `json:"uid"`
		} `json:"pod"`
	} `json:"kubernetes.io"`
}

// Check implements tasks.Credentials. A good token of a pod that comes too late, because the attempt has ended or another
// pod owns it, is told so by an *api.Error with code conflict, on which a trainer ends itself. While the keys cannot be
// read the error's code is unavailable, on which it tries again.
func (c *Credentials) Check(ctx context.Context, caller tasks.Caller, a store.Attempt) (bool, error) {
	ok, err := c.verify(ctx, caller, a)
	if !ok || err != nil {
		return false, err
	}
	if a.Ended != nil {
		return false, api.Errorf(api.CodeConflict, "Attempt %d of this task has ended; its token opens nothing any more.", a.Attempt)
	}
	if a.Executor != "" && a.Executor != caller.Executor {
		return false, api.Errorf(api.CodeConflict, "Another pod executes attempt %d of this task.", a.Attempt)
	}
	return true, nil
}

// verify tells whether the token was made for a pod of this attempt, and that pod calls.
func (c *Credentials) verify(ctx context.Context, caller tasks.Caller, a store.Attempt) (bool, error) {
	if caller.Executor == "" || len(caller.Token) > maxToken {
		return false, nil
	}
	token, err := jwt.ParseSigned(caller.Token, algorithms)
	if err != nil || len(token.Headers) != 1 {
		return false, nil //nolint:nilerr // whatever is wrong with it, it is no credential
	}
	found, issuer, err := c.keys.find(ctx, token.Headers[0].KeyID)
	if err != nil {
		away := api.Errorf(api.CodeUnavailable, "This server cannot read the cluster's token keys right now, so it knows no pod. It tries again.")
		return false, fmt.Errorf("%w (%w)", away, err)
	}
	for _, key := range found {
		var said jwt.Claims
		var more claims
		if key.Algorithm != "" && key.Algorithm != token.Headers[0].Algorithm || token.Claims(key.Key, &said, &more) != nil {
			continue
		}
		return c.fits(said, more, issuer, caller, a), nil
	}
	return false, nil
}

func (c *Credentials) fits(said jwt.Claims, more claims, issuer string, caller tasks.Caller, a store.Attempt) bool {
	wanted := jwt.Expected{Issuer: issuer, Time: c.o.Now()}
	return issuer != "" && said.Expiry != nil && said.ValidateWithLeeway(wanted, Leeway) == nil &&
		len(said.Audience) == 1 && said.Audience[0] == c.o.Audience(a.Task, a.Attempt) &&
		more.Kubernetes.Namespace == c.o.Namespace && more.Kubernetes.Pod.UID == caller.Executor
}

var errNoKeys = errors.New("the cluster gave no usable key")
