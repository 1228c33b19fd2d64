package podtoken

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// askAgain is how long an answer on keys counts when a token names one that is not among them, so that made-up names
	// cause no flood of requests.
	askAgain = 10 * time.Second
	// keysAge is after how long known keys are read anew, so that one that the cluster gave up is not believed for ever.
	keysAge = 10 * time.Minute
)

// keyring keeps a cluster's public keys.
type keyring struct {
	keys   func(context.Context) ([]byte, error)
	issuer func(context.Context) (string, error)
	now    func() time.Time
	log    *slog.Logger

	asking sync.Mutex // held while asking; known keys are found meanwhile

	mu    sync.Mutex
	tried time.Time // when it was last asked
	read  time.Time // when it last answered
	err   error     // of the last time
	known map[string][]jose.JSONWebKey
	name  string // the issuer
}

// find returns the keys of that name, none when the cluster has none, and the issuer. An error means that nobody knows.
func (k *keyring) find(ctx context.Context, id string) (found []jose.JSONWebKey, issuer string, err error) {
	if found, issuer, settled, err := k.look(id); settled {
		return found, issuer, err
	}
	k.asking.Lock()
	defer k.asking.Unlock()
	if found, issuer, settled, err := k.look(id); settled { // somebody else has just asked
		return found, issuer, err
	}
	k.ask(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if found = k.known[id]; len(found) > 0 { // keys that cannot be read anew go on being believed
		return found, k.name, nil
	}
	return nil, k.name, k.err
}

// look answers from what is known; settled is false when it is time to ask.
func (k *keyring) look(id string) (found []jose.JSONWebKey, issuer string, settled bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	found = k.known[id]
	switch {
	case len(found) > 0 && now.Sub(k.read) < keysAge:
		return found, k.name, true, nil
	case k.tried.IsZero() || now.Sub(k.tried) >= askAgain:
		return nil, "", false, nil
	case len(found) > 0:
		return found, k.name, true, nil
	}
	return nil, k.name, true, k.err
}

func (k *keyring) ask(ctx context.Context) {
	// The answer serves every caller, so one that goes away does not cut it short; the calls have limits of their own.
	ctx = context.WithoutCancel(ctx)
	raw, err := k.keys(ctx)
	var known map[string][]jose.JSONWebKey
	if err == nil {
		known, err = parseKeys(raw)
	}
	var name string
	if err == nil {
		name, err = k.issuer(ctx)
	}
	if err != nil && k.log != nil {
		k.log.WarnContext(ctx, "the cluster's token keys cannot be read", "error", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tried, k.err = k.now(), err
	if err == nil {
		k.read, k.known, k.name = k.tried, known, name
	}
}

// Usable counts the keys of a set that tokens can be checked by.
func Usable(raw []byte) (int, error) {
	known, err := parseKeys(raw)
	return len(known), err
}

// parseKeys reads a JSON Web Key Set (RFC 7517), leaving out what Kubernetes does not sign with.
func parseKeys(raw []byte) (map[string][]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, fmt.Errorf("read token keys: %w", err)
	}
	known := map[string][]jose.JSONWebKey{}
	for _, one := range set.Keys {
		var key jose.JSONWebKey
		if err := json.Unmarshal(one, &key); err != nil || key.KeyID == "" {
			continue // of a kind that is not known here
		}
		switch public := key.Key.(type) {
		case *rsa.PublicKey:
		case *ecdsa.PublicKey:
			if public.Curve != elliptic.P256() {
				continue
			}
		default:
			continue
		}
		known[key.KeyID] = append(known[key.KeyID], key)
	}
	if len(known) == 0 {
		return nil, errNoKeys
	}
	return known, nil
}
