package kubernetes_test

import (
	"io"
	"log"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// client-go's last handler of unexpected errors sleeps for a time that it computes from the previous error's, whichever
// clock that came from: within a bubble of time, years.
func init() { utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1] }

// silent swallows what a server tells of connections that were cut on purpose.
func silent() *log.Logger { return log.New(io.Discard, "", 0) }
