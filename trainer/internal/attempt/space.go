package attempt

import (
	"errors"
	"syscall"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// outOfSpace makes what failed because a disk is full a Failure that says so; other errors come back as they are.
func outOfSpace(err error) error {
	var failure *Failure
	if errors.As(err, &failure) || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	return fail(runspec.ExitNoSpace, "there is no space left on the disk (%v); free some, then retry; what is computed of the photos is kept", err)
}
