#!/usr/bin/env bash
# The main job on a sample dataset: scan, train with live curves, take the model home. Called by `make demo`.
# In a terminal it opens the program on the sample; otherwise it prints plain lines and leaves the .h5 in this folder.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -d demo/garden ]; then
  bin/cultivar sample demo/garden
fi
if [ -t 0 ] && [ -t 1 ]; then
  exec bin/cultivar demo/garden
fi
exec bin/cultivar train demo/garden --preset quick --wait --output .
