#!/usr/bin/env bash
# Unpacks TensorFlow's C library and headers from the hash-pinned PyPI wheel into DIR (default .deps/tensorflow),
# as DIR/lib and DIR/include; with CULTIVAR_TENSORFLOW=cuda from the Linux wheel for NVIDIA GPUs.
# Python is needed to fetch the wheel, not afterwards. Done once; a second call returns at once.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-$here/../../.deps/tensorflow}
case "$(uname -s)-$(uname -m)" in
Linux-x86_64) platform=manylinux_2_17_x86_64 pins=$here/requirements-tensorflow.txt ;;
Darwin-arm64) platform=macosx_12_0_arm64 pins=$here/requirements-tensorflow-macos.txt ;; # best effort: not covered by the tests
*)
  echo "cultivar: there is no pinned TensorFlow for $(uname -s) $(uname -m). Put libtensorflow 2.18 into $dir/lib and its headers into $dir/include, then run: touch $dir/.own" >&2
  [ -f "$dir/.own" ] && exit 0
  exit 1
  ;;
esac
if [ "${CULTIVAR_TENSORFLOW:-cpu}" = cuda ]; then
  pins=$here/requirements-tensorflow-cuda.txt
fi
stamp=$dir/.stamp
want=$(cksum <"$pins")
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0

echo "cultivar: fetching TensorFlow's C library (230 MB, once)" >&2
mkdir -p "$dir/lib"
tmp=$(mktemp -d "$dir/.fetch.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 \
  --platform "$platform" --require-hashes --dest "$tmp" -r "$pins"
python3 - "$tmp" <<'PY'
import os, re, sys, zipfile
tmp = sys.argv[1]
wheel = next(n for n in os.listdir(tmp) if n.endswith(".whl"))
keep = re.compile(r"tensorflow/(include/tensorflow/c/|include/(tensorflow/core|tsl)/platform/ctstring|include/xla/tsl/"
                  r"|libtensorflow_(cc|framework)[.]|THIRD_PARTY_NOTICES)")
with zipfile.ZipFile(os.path.join(tmp, wheel)) as z:
    for name in z.namelist():
        if keep.match(name):
            z.extract(name, tmp)
PY
rm -rf "$dir/include"
mv "$tmp/tensorflow/include" "$dir/include"
mv -f "$tmp"/tensorflow/libtensorflow_* "$tmp/tensorflow/THIRD_PARTY_NOTICES.txt" "$dir/lib/"
# graft links -ltensorflow; the wheel's C++ library exports the whole C API under another name.
if [ -f "$dir/lib/libtensorflow_cc.2.dylib" ]; then
  ln -sf libtensorflow_cc.2.dylib "$dir/lib/libtensorflow.dylib"
  ln -sf libtensorflow_framework.2.dylib "$dir/lib/libtensorflow_framework.dylib"
else
  ln -sf libtensorflow_cc.so.2 "$dir/lib/libtensorflow.so"
  ln -sf libtensorflow_framework.so.2 "$dir/lib/libtensorflow_framework.so"
fi
echo "$want" >"$stamp"
