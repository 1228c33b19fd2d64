#!/usr/bin/env bash
# Makes the Python environment of the peers in DIR (default .deps/bench-venv): install.sh [DIR [TESTS]]. TensorFlow and Keras
# are those of the export tests' environment, TESTS (default .deps/venv), which has to be there: a .pth file names it, so the
# big wheels are on disk once. Done once; a second call returns at once.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-$here/../../../.deps/bench-venv}
tests=$(cd "${2:-$here/../../../.deps/venv}" && pwd)
stamp=$dir/.stamp
want=$(cat "$tests/.stamp" "$here/requirements-bench.txt" | cksum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0

echo "cultivar: making the Python environment of the peers" >&2
rm -rf "$dir"
"$tests/bin/python" -m venv "$dir"
site='import sysconfig; print(sysconfig.get_paths()["purelib"])'
"$tests/bin/python" -c "$site" >"$("$dir/bin/python" -c "$site")/tests.pth"
"$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: -r "$here/requirements-bench.txt"
"$dir/bin/python" -c 'import keras, sklearn, tensorflow' >/dev/null 2>&1 || {
  echo "cultivar: the peers' Python environment in $dir lacks TensorFlow, Keras or scikit-learn; remove $tests and $dir and run the same command again" >&2
  exit 1
}
echo "$want" >"$stamp"
