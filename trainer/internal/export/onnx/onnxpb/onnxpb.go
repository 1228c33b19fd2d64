// Package onnxpb is generated from onnx.proto, our own description of the part of ONNX's format that is written here.
// Building needs neither protoc nor its plug-in; Debian's protobuf-compiler and protoc-gen-go make the code anew.
package onnxpb

//go:generate protoc -I../../../../.. --go_out=../../../../.. --go_opt=paths=source_relative trainer/internal/export/onnx/onnxpb/onnx.proto
