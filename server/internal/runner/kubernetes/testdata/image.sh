#!/bin/bash
# image.sh  builds the tests' trainer and puts it as localhost/cultivar-test-trainer:1 into the test cluster.
set -euo pipefail
cd "$(dirname "$0")/trainer"
cluster=${CULTIVAR_TEST_CLUSTER:-$(git rev-parse --show-toplevel)/../shared/cluster}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$out/trainer" ./main.go
python3 "$cluster/mkimage.py" "$out/image.tar" localhost/cultivar-test-trainer:1 "$out/trainer=/cultivar-trainer" -- /cultivar-trainer
"$cluster/load.sh" "$out/image.tar" > /dev/null
