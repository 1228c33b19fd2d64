#!/usr/bin/env bash
# Unpacks TensorFlow's C library and headers from the hash-pinned PyPI wheel into DIR (default .deps/tensorflow),
# as DIR/lib and DIR/include. Python is needed to fetch the wheel, not afterwards. Done once; a second call returns at once.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-$here/../../.deps/tensorflow}
pins=$here/requirements-tensorflow.txt
stamp=$dir/.stamp
want=$(cksum <"$pins")
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0

case "$(uname -s)-$(uname -m)" in
Linux-x86_64) platform=manylinux_2_17_x86_64 ;;
*)
  echo "cultivar: the pinned TensorFlow wheel is for Linux x86-64; on $(uname -s) $(uname -m) put libtensorflow 2.18 into $dir/lib and its headers into $dir/include, then run: echo '$want' >$stamp" >&2
  exit 1
  ;;
esac
echo "cultivar: fetching TensorFlow's C library (230 MB, once)" >&2
mkdir -p "$dir"
tmp=$(mktemp -d "$dir/.fetch.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 \
  --platform "$platform" --require-hashes --dest "$tmp" -r "$pins"
python3 - "$tmp" <<'PY'
import os, sys, zipfile
tmp = sys.argv[1]
wheel = next(n for n in os.listdir(tmp) if n.endswith(".whl"))
keep = ("tensorflow/include/tensorflow/c/", "tensorflow/include/tensorflow/core/platform/ctstring",
        "tensorflow/include/tsl/platform/ctstring",
        "tensorflow/include/xla/tsl/", "tensorflow/libtensorflow_cc.so.2",
        "tensorflow/libtensorflow_framework.so.2", "tensorflow/THIRD_PARTY_NOTICES.txt")
with zipfile.ZipFile(os.path.join(tmp, wheel)) as z:
    for name in z.namelist():
        if name.startswith(keep):
            z.extract(name, tmp)
PY
mkdir -p "$dir/lib"
rm -rf "$dir/include"
mv "$tmp/tensorflow/include" "$dir/include"
mv -f "$tmp/tensorflow/libtensorflow_cc.so.2" "$tmp/tensorflow/libtensorflow_framework.so.2" \
  "$tmp/tensorflow/THIRD_PARTY_NOTICES.txt" "$dir/lib/"
# graft links -ltensorflow; the wheel's C++ library exports the whole C API under another name.
ln -sf libtensorflow_cc.so.2 "$dir/lib/libtensorflow.so"
ln -sf libtensorflow_cc.so.2 "$dir/lib/libtensorflow.so.2"
ln -sf libtensorflow_framework.so.2 "$dir/lib/libtensorflow_framework.so"
echo "$want" >"$stamp"
