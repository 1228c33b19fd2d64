// Package metadata is generated from metadata.fbs, our own description of the part of TensorFlow Lite's model metadata that is
// written here. Building needs no compiler of it; Debian's flatbuffers-compiler makes the code anew.
package metadata

//go:generate flatc --go --gen-onefile --go-namespace metadata -o . metadata.fbs
//go:generate gofmt -w metadata_generated.go
