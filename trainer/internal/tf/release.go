package tf

/*
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
static void release(void) { malloc_trim(0); }
#else
static void release(void) {}
#endif
*/
import "C"

import "runtime/debug"

// Release gives memory back that closed sessions and forgotten tensors held. Of both, Go sees only handles, and the C
// library keeps what is freed for itself.
func Release() {
	debug.FreeOSMemory() // runs the finalizers' queue, which deletes tensors
	C.release()
}
