#!/usr/bin/env bash
# Prints images a second of the feature pass and of Keras predict with the same weights, decoding included, measured one
# after the other on the same photos and processors. Run it on a machine that does nothing else: make bench-features.
set -euo pipefail
cd "$(dirname "$0")/.."
go test ./bench -run '^$' -bench FeaturePass -benchtime 1x -count 1 -timeout 20m -v
