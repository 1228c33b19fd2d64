module github.com/cultivar-ml/cultivar/shared

go 1.26.0

require (
	github.com/gorilla/mux v1.8.1
	github.com/oapi-codegen/runtime v1.8.0
	golang.org/x/image v0.47.0
	golang.org/x/text v0.43.0
)

require (
	github.com/apapsch/go-jsonmerge/v2 v2.0.0 // indirect
	github.com/google/uuid v1.6.0 // indirect
)
