#!/usr/bin/env bash
# Makes the Python environment that only the tests use: the ecosystem's own readers check what the trainer exports.
# It stands in DIR (default .deps/venv) and touches nothing outside it. Done once; a second call returns at once.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-$here/../../.deps/venv}
pins=$here/requirements-test.txt
stamp=$dir/.stamp
want=$(cksum <"$pins")
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0

# TensorFlow 2.18 has wheels up to Python 3.12, some of the other pinned versions from 3.11 on.
python=
for candidate in ${CULTIVAR_PYTHON:+"$CULTIVAR_PYTHON"} python3.11 python3.12 python3; do
  if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  echo "cultivar: the export tests need Python 3.11 or 3.12 with venv, and none was found; install it (Debian: apt-get install python3-venv) or name one in CULTIVAR_PYTHON" >&2
  exit 1
fi

echo "cultivar: making the Python environment of the export tests (1.5 GB on disk, once)" >&2
# An interrupted earlier call may have left half of one; without its stamp it is not to be trusted.
rm -rf "$dir"
mkdir -p "$(dirname "$dir")"
"$python" -m venv "$dir"
"$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: -r "$pins"
echo "$want" >"$stamp"
