// Package api is the one contract between clients and server: the OpenAPI document, the types, server and client
// generated from it, and the error type with its HTTP statuses. It makes no requests and serves none by itself.
package api

import _ "embed"

//go:generate go run ./recipe openapi.yaml
//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -config oapi-models.yaml openapi.yaml
//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -config oapi-client.yaml openapi.yaml
//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -config oapi-server.yaml openapi.yaml

// Spec is the OpenAPI document, YAML.
//
//go:embed openapi.yaml
var Spec []byte
