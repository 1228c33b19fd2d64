// Package schema is generated from schema.fbs, our own description of the part of TensorFlow Lite's format that is written here.
// Building needs no compiler of it; Debian's flatbuffers-compiler makes the code anew.
package schema

//go:generate flatc --go --gen-onefile --go-namespace schema -o . schema.fbs
//go:generate gofmt -w schema_generated.go
