//go:build !linux

package main

// quietTensorFlow does nothing where the loader offers no place for it: TensorFlow's remarks stay.
func quietTensorFlow() {}
