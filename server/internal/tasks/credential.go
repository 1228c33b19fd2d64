package tasks

import (
	"context"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Credentials is how an executor proves that an attempt is its own. There are two: a file with a secret, where server and
// trainer share a machine, and the token that Kubernetes gives a pod.
type Credentials interface {
	// Issue makes sure that the attempt's executor will find its credential, and returns the path where, on the
	// trainer's side. Doing it again changes nothing that was found already.
	Issue(ctx context.Context, t store.Task, a store.Attempt) (path string, err error)
	// Check tells whether the caller holds the attempt's credential and is the executor it says it is. A credential that
	// does not fit is ok = false; an error means that nobody knows.
	Check(ctx context.Context, c Caller, a store.Attempt) (ok bool, err error)
}

// FileCredentials are secrets of 256 bits in files of the volume; the row keeps their hash.
type FileCredentials struct {
	Store  *store.Store
	Volume *files.Volume
}

// Issue implements Credentials.
func (f FileCredentials) Issue(ctx context.Context, t store.Task, a store.Attempt) (string, error) {
	name := path.Join(runspec.TaskDir(t.Owner, t.ID), "token-"+strconv.Itoa(a.Attempt))
	file, err := f.Volume.Path(name)
	if err != nil {
		return "", err
	}
	if b, err := os.ReadFile(file); err == nil && auth.Matches(strings.TrimSpace(string(b)), a.TokenHash) {
		return file, nil
	}
	token := auth.NewToken()
	if err := f.Store.RenewToken(ctx, t.ID, a.Attempt, auth.Hash(token)); err != nil {
		return "", err
	}
	return file, f.Volume.WriteBytes(name, files.FileMode, []byte(token))
}

// Check implements Credentials.
func (f FileCredentials) Check(_ context.Context, c Caller, a store.Attempt) (bool, error) {
	return auth.Matches(c.Token, a.TokenHash), nil
}
