//go:build cluster

package clustertest

import (
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// needed is all that the server may do in its namespace.
var needed = map[string]string{
	"batch/jobs": "get list watch create delete",
	"pods":       "get list watch",
	"pods/log":   "get",
	"events":     "list",
}

// testRights asks the cluster, as the server's account, about every verb on every resource that there is: what is needed
// must be allowed and all else refused.
func testRights(t *testing.T, c *cluster) {
	config := rest.CopyConfig(c.rest)
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + c.ns + ":cultivar-server",
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + c.ns, "system:authenticated"},
	}
	as, err := kubernetes.NewForConfig(config)
	must(t, err)
	_, lists, err := c.kube.Discovery().ServerGroupsAndResources()
	must(t, err)
	asked := 0
	ask := func(a authorizationv1.ResourceAttributes) bool {
		t.Helper()
		asked++
		r, err := as.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(),
			&authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &a}}, metav1.CreateOptions{})
		must(t, err)
		return r.Status.Allowed
	}
	for _, list := range lists {
		group := ""
		if g, _, ok := strings.Cut(list.GroupVersion, "/"); ok {
			group = g
		}
		if group == "authorization.k8s.io" || group == "authentication.k8s.io" {
			continue // every account may ask what it may do and who it is
		}
		for _, r := range list.APIResources {
			resource, sub, _ := strings.Cut(r.Name, "/")
			name := strings.TrimPrefix(group+"/"+r.Name, "/")
			for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"} {
				want := strings.Contains(" "+needed[name]+" ", " "+verb+" ")
				a := authorizationv1.ResourceAttributes{Namespace: c.ns, Group: group, Resource: resource, Subresource: sub, Verb: verb}
				if got := ask(a); got != want {
					t.Errorf("%s %s: allowed is %t, want %t", verb, name, got, want)
				}
				if !want {
					continue
				}
				for _, elsewhere := range []string{"kube-system", ""} {
					a.Namespace = elsewhere
					if ask(a) {
						t.Errorf("%s %s is also allowed in namespace %q", verb, name, elsewhere)
					}
				}
			}
		}
	}
	t.Logf("asked %d times", asked)
}
