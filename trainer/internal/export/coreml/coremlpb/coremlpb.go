// Package coremlpb is generated from coreml.proto, our own description of the part of Core ML's format that is written
// here. Building needs neither protoc nor its plug-in; Debian's protobuf-compiler and protoc-gen-go make the code anew.
package coremlpb

//go:generate protoc -I../../../../.. --go_out=../../../../.. --go_opt=paths=source_relative trainer/internal/export/coreml/coremlpb/coreml.proto
