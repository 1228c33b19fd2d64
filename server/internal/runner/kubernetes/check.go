package kubernetes

import (
	"context"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Permission is the answer to whether this server may do something in its namespace.
type Permission struct {
	What    string // such as "create jobs"
	Allowed bool
	Err     error // why nobody knows
}

// needs is every right this package uses; the Role in deploy grants just these.
func needs() []authorizationv1.ResourceAttributes {
	var out []authorizationv1.ResourceAttributes
	add := func(group, resource, sub string, verbs ...string) {
		for _, verb := range verbs {
			out = append(out, authorizationv1.ResourceAttributes{Group: group, Resource: resource, Subresource: sub, Verb: verb})
		}
	}
	add("batch", "jobs", "", "get", "list", "watch", "create", "delete")
	add("", "pods", "", "get", "list", "watch")
	add("", "pods", "log", "get")
	add("", "events", "", "list")
	return out
}

// Check asks the API server for every right that a runner needs. It goes on after an error, so that the list is whole.
func (c *Client) Check(ctx context.Context) []Permission {
	var out []Permission
	for _, need := range needs() {
		need.Namespace = c.cluster.Namespace
		what := need.Verb + " " + need.Resource
		if need.Subresource != "" {
			what += "/" + need.Subresource
		}
		p := Permission{What: what}
		p.Allowed, p.Err = c.may(ctx, need)
		out = append(out, p)
	}
	return out
}

func (c *Client) may(ctx context.Context, what authorizationv1.ResourceAttributes) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	review, err := c.reviews.Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask for a permission: %w", err)
	}
	return review.Status.Allowed, nil
}
