module github.com/cultivar-ml/cultivar/trainer

go 1.26.0

require (
	github.com/cultivar-ml/cultivar/shared v0.0.0
	github.com/google/flatbuffers v25.12.19+incompatible
	github.com/nlpodyssey/gopickle v0.3.0
	github.com/spf13/cobra v1.10.2
	github.com/wamuir/graft v0.10.0
	golang.org/x/image v0.47.0
	golang.org/x/sync v0.24.0
	golang.org/x/text v0.43.0
	gonum.org/v1/gonum v0.17.0
	gonum.org/v1/hdf5 v0.0.0-20210714002203-8c5d23bc6946
	google.golang.org/protobuf v1.36.12
)

require (
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
)

replace github.com/cultivar-ml/cultivar/shared => ../shared
