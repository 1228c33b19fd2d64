package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Keys returns the public keys that the cluster signs its pods' tokens with, as a JSON Web Key Set. Every service account
// may read them, by the built-in binding system:service-account-issuer-discovery.
func (c *Client) Keys(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	keys, err := c.raw.Get().AbsPath(keysPath).DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's token keys: %w", err)
	}
	return keys, nil
}

// Issuer returns the name that the cluster signs its pods' tokens with.
func (c *Client) Issuer(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	b, err := c.raw.Get().AbsPath("/.well-known/openid-configuration").DoRaw(ctx)
	var found struct {
		Issuer string `json:"issuer"`
	}
	if err == nil {
		err = json.Unmarshal(b, &found)
	}
	if err == nil && found.Issuer == "" {
		err = errors.New("the answer names none")
	}
	if err != nil {
		return "", fmt.Errorf("read the issuer of the cluster's tokens: %w", err)
	}
	return found.Issuer, nil
}
