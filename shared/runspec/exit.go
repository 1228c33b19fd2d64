package runspec

// Exit codes of the trainer. 10 to 19 will fail the same way again, until somebody does something about it, and are never
// retried by themselves.
const (
	ExitOK          = 0
	ExitError       = 1  // unexpected; retried a little
	ExitBadSpec     = 10 // spec or recipe not understood
	ExitNoImages    = 11 // no readable image
	ExitOneClass    = 12 // fewer than two classes with images
	ExitTooFew      = 13 // a class with too few images
	ExitNoBase      = 14 // base weights absent or damaged
	ExitBadData     = 15 // manifest or packs damaged
	ExitCancelled   = 16 // told to cancel
	ExitNoSpace     = 17 // a disk is full
	ExitInterrupted = 30 // SIGTERM: checkpoint written, another attempt can go on
)

// Final tells whether an exit code means that another attempt would fail the same way.
func Final(code int) bool { return code >= 10 && code <= 19 }
