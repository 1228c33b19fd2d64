#!/usr/bin/env bash
# Makes the Python environment of the API check, which only a test uses. It stands in .deps/api-venv and touches nothing outside
# it. Done once; a second call returns at once.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$here/../../.deps/api-venv
pins=$here/requirements-api.txt
stamp=$dir/.stamp
want=$(cksum <"$pins")
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0

python=${CULTIVAR_PYTHON:-python3}
if ! "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] < (3, 11))' 2>/dev/null; then
  echo "cultivar: the API check needs Python 3.11 or newer with venv; install it (Debian: apt-get install python3-venv) or name one in CULTIVAR_PYTHON" >&2
  exit 1
fi
echo "cultivar: making the Python environment of the API check (100 MB on disk, once)" >&2
rm -rf "$dir"
mkdir -p "$(dirname "$dir")"
"$python" -m venv "$dir"
"$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: -r "$pins"
echo "$want" >"$stamp"
