package deliver

import (
	"errors"
	"fmt"
	"time"
)

// problem is why an attempt came to nothing.
type problem struct {
	text    string        // sentences for people; texts of others in it are safe
	final   bool          // another attempt would end the same
	unknown bool          // it may have happened all the same
	passing bool          // the other side said that it cannot now
	after   time.Duration // no sooner than this
	err     error         // for the log; may be nil
}

// Error is for the log.
func (p *problem) Error() string {
	if p.err == nil {
		return p.text
	}
	return fmt.Sprintf("%s (%v)", p.text, p.err)
}

// Unwrap is the cause.
func (p *problem) Unwrap() error { return p.err }

// asProblem finds the problem in an error; any other error is one that the next attempt may not have, whose text is not
// for people.
func asProblem(err error) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	return &problem{text: "Something went wrong inside the server; its log tells more.", err: err}
}
