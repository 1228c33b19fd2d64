# `make demo` and `make test` do all the set-up they need; `make help` lists the rest.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  := $(shell git rev-parse --short HEAD 2>/dev/null || echo none)
LDFLAGS := -X github.com/cultivar-ml/cultivar/shared/version.Version=$(VERSION) -X github.com/cultivar-ml/cultivar/shared/version.Commit=$(COMMIT)
MODULES := shared server tui trainer
ENV     := source trainer/setup/env.sh
GOLANGCI := .deps/bin/golangci-lint
GOTESTSUM := go run gotest.tools/gotestsum@v1.13.0

##@ Use
.PHONY: demo
demo: build bases ## set everything up and train a classifier on a sample dataset
	@deploy/demo.sh

.PHONY: build
build: setup ## build bin/cultivar, bin/cultivar-server and bin/cultivar-trainer
	@mkdir -p bin
	@CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o bin/ ./tui/cmd/cultivar ./server/cmd/cultivar-server
	@$(ENV); CGO_LDFLAGS="$$CGO_LDFLAGS -Wl,-rpath,\$$ORIGIN/../.deps/tensorflow/lib -Wl,-rpath,\$$ORIGIN/../lib" \
		go build -ldflags "$(LDFLAGS)" -o bin/ ./trainer/cmd/cultivar-trainer

.PHONY: setup
setup: ## fetch TensorFlow's C library and TensorFlow.js, and check for the system's tools
	@trainer/setup/system.sh
	@trainer/setup/tensorflow.sh
	@trainer/setup/tfjs.sh

.PHONY: bases
bases: build ## fetch and convert the default base model's weights
	@trainer/setup/bases.sh

.PHONY: bases-all
bases-all: build ## fetch the other EfficientNet-Lite bases too, into .deps/bases-all
	@trainer/setup/bases.sh .deps/bases-all efficientnet_lite0 efficientnet_lite1 efficientnet_lite2

##@ Check
.PHONY: test
test: build bases venv ## everything but the slow tests
	@$(ENV); CULTIVAR_REQUIRE_PYTHON=1 $(GOTESTSUM) --format testname --hide-summary skipped -- -short $(MODULES:%=./%/...)

.PHONY: test-full
test-full: check test browser api-checker bases-all ## lint, `make test`, then the slow tests
	@$(ENV); CULTIVAR_REQUIRE_PYTHON=1 CULTIVAR_REQUIRE_BROWSER=1 CULTIVAR_REQUIRE_API_CHECKER=1 $(GOTESTSUM) --format testname -- -timeout 40m -p 1 $(MODULES:%=./%/...)

.PHONY: test-seeds
test-seeds: ## 10,000 seeds of the Kubernetes runner against an API server that misbehaves
	@cd server && go test -count=1 -timeout 40m -run TestSeeds ./internal/runner/kubernetes

.PHONY: chaos
chaos: ## kill the server 1,000 times while it works, and check the invariants each time
	@cd server && CULTIVAR_KILLS=1000 go test -count=1 -timeout 3h -run TestChaos -v ./cmd/cultivar-server

.PHONY: venv
venv:
	@trainer/setup/venv.sh

.PHONY: api-checker
api-checker:
	@server/setup/api.sh

.PHONY: browser
browser:
	@trainer/setup/browser.sh

.PHONY: check
check: setup $(GOLANGCI) ## formatting, lint with the import rules, each module alone
	@test -z "$$(gofmt -l $(MODULES))" || { gofmt -d $(MODULES); exit 1; }
	@$(ENV); for m in $(MODULES); do (cd $$m && ../$(GOLANGCI) run ./...); done
	@$(ENV); for m in $(MODULES); do (cd $$m && GOWORK=off go build ./...); done

.PHONY: generate
generate: ## regenerate the API's types, client and server
	@cd shared && go generate ./...

.PHONY: verify
verify: generate ## fail when generated code is not what is committed
	@git diff --exit-code -- '*.gen.go' '*.pb.go' '*_generated.go' shared/api/openapi.yaml

.PHONY: race
race: ## the pure Go modules under the race detector
	@go test -race -short ./shared/... ./tui/...
	@go test -race -short -skip TestCutMidChunk ./server/... # tusd 2.9.1 itself races when a connection is cut

$(GOLANGCI):
	@mkdir -p .deps/bin
	@GOBIN="$(CURDIR)/.deps/bin" go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

##@ Measure
.PHONY: bench-features
bench-features: build bases venv ## images a second of the feature pass and of Keras predict, in one run
	@$(ENV); trainer/bench/features.sh

BUDGET     ?= 80m
BENCH_DATA ?= $(or $(CULTIVAR_TEST_DATA),../shared/data)
BENCH_ARGS ?=# more flags, such as: -systems quick,probe -seeds 1 -again

.PHONY: bench-trainer
bench-trainer: build bases venv ## the presets and their peers side by side, for BUDGET; goes on where it was cut
	@trainer/bench/peers/install.sh
	@$(ENV); go run -ldflags "$(LDFLAGS)" ./trainer/bench/cmd/bench-trainer -data "$(BENCH_DATA)" -budget $(BUDGET) $(BENCH_ARGS)

##@ Deploy
DOCKER             ?= docker
DOCKER_BUILD_FLAGS ?=
IMAGE_TAG          ?= dev
TENSORFLOW         ?= cpu# or cuda, for NVIDIA GPUs
TRAINER_IMAGE       = cultivar-trainer$(if $(filter cuda,$(TENSORFLOW)),-cuda)
IMAGE_BUILD         = $(DOCKER) build $(DOCKER_BUILD_FLAGS) --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT)

.PHONY: images
images: image-server image-trainer ## both images, looked through and measured

.PHONY: image-server
image-server: ## the server's image: at most 60 MB
	@$(IMAGE_BUILD) -f Dockerfile.server -t cultivar-server:$(IMAGE_TAG) .
	@DOCKER="$(DOCKER)" deploy/check-image.sh cultivar-server:$(IMAGE_TAG) 60

.PHONY: image-trainer
image-trainer: ## the trainer's image: at most 900 MB; TENSORFLOW=cuda makes the one for GPUs
	@$(IMAGE_BUILD) --build-arg TENSORFLOW=$(TENSORFLOW) -f Dockerfile.trainer -t $(TRAINER_IMAGE):$(IMAGE_TAG) .
	@DOCKER="$(DOCKER)" deploy/check-image.sh $(TRAINER_IMAGE):$(IMAGE_TAG) $(if $(filter cuda,$(TENSORFLOW)),0,900) debian:bookworm-slim

.PHONY: test-cluster
test-cluster: build bases venv ## deploy both images to the cluster of KUBECONFIG, train there and break things
	@if [ -z "$${KUBECONFIG:-}" ]; then exec .ci/cluster $(MAKE) --no-print-directory test-cluster; fi; \
		CULTIVAR_SEEDS=500 CULTIVAR_BIN="$(CURDIR)/bin" CULTIVAR_TEST_DATA="$${CULTIVAR_TEST_DATA:-$(CURDIR)/../shared/data}" CULTIVAR_TEST_PYTHON="$(CURDIR)/.deps/venv/bin/python" \
		$(GOTESTSUM) --format standard-verbose -- -tags cluster -count=1 -p 1 -timeout 40m \
		./server/internal/runner/kubernetes ./server/internal/deploytest ./server/internal/clustertest

##@ Tidy
.PHONY: clean
clean: ## remove binaries; .deps stays, since it is slow to fetch
	@rm -rf bin demo

.PHONY: help
help: ## this list
	@awk 'BEGIN {FS = ":.*##"} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*##/ {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
