package main

import (
	"os"
	"syscall"

	"github.com/wamuir/graft/tensorflow/op"

	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// quietTensorFlow has the first session of the process run while standard error leads nowhere: TensorFlow remarks on
// it once, through a logger that no setting reaches. Nothing is lost if it fails; the remark comes later then.
func quietTensorFlow() {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer null.Close()
	screen, err := syscall.Dup(2)
	if err != nil {
		return
	}
	defer syscall.Close(screen)
	if err := dup2(int(null.Fd()), 2); err != nil {
		return
	}
	defer func() { _ = dup2(screen, 2) }()
	s := op.NewScope()
	one := op.Const(s, float32(1))
	graph, err := s.Finalize()
	if err != nil {
		return
	}
	session, err := tf.NewSession(graph, tf.Threads{Intra: 1, Inter: -1})
	if err != nil {
		return
	}
	defer session.Close()
	_, _ = session.Run(nil, []tf.Output{one}, nil)
}
