package httpapi

import (
	"net/http"
	"strings"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/shared/api"
)

// needs is the scope that a request takes, by its method and the first part of its path. What is not named here takes the
// admin's, so that a new route is closed until somebody opens it.
func needs(r *http.Request) auth.Scope {
	first, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, base), "/"), "/")
	looks := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch first {
	case "uploads", "blobs": // also to look: only who sends asks how far it is
		return auth.Upload
	case "datasets":
		if looks {
			return auth.Read
		}
		return auth.Upload
	case "me":
		if looks {
			return auth.Read
		}
		return auth.Upload | auth.Train // all of it is deleted
	case "runs", "tasks", "models", "bases", "abilities":
		if looks {
			return auth.Read
		}
		return auth.Train
	}
	return auth.Admin
}

// permit refuses a caller that lacks the scope which a request takes.
func permit(p auth.Principal, r *http.Request) error {
	need := needs(r)
	if p.Scopes.Has(need) {
		return nil
	}
	return api.Errorf(api.CodeForbidden, "Your token may %s, but this takes one that may %s. Get it from the server's admin.",
		strings.ReplaceAll(p.Scopes.String(), " ", ", "), need)
}
