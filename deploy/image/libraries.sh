#!/usr/bin/env bash
# Completes TensorFlow's libraries for an image: libraries.sh cpu|cuda DIR, where DIR holds libtensorflow_cc.so.2.
# cpu strips them, which saves 50 MB; cuda adds NVIDIA's libraries from their hash-pinned PyPI packages and leaves all as is,
# since the code for GPUs lies in sections that strip does not know.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
variant=$1 dir=$2
case "$variant" in
cpu)
  strip --strip-unneeded "$dir"/*.so.2
  ;;
cuda)
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform manylinux1_x86_64 \
    --require-hashes --dest "$tmp" -r "$here/requirements-cuda.txt"
  python3 - "$tmp" "$dir" <<'PY'
import os, re, shutil, sys, zipfile
tmp, dest = sys.argv[1:]
library = re.compile(r"nvidia/[^/]+/lib/[^/]+[.]so[.0-9]*$|nvidia/cuda_nvcc/nvvm/libdevice/[^/]+[.]bc$")
for wheel in sorted(n for n in os.listdir(tmp) if n.endswith(".whl")):
    with zipfile.ZipFile(os.path.join(tmp, wheel)) as z:
        for name in filter(library.match, z.namelist()):
            with z.open(name) as source, open(os.path.join(dest, os.path.basename(name)), "wb") as out:
                shutil.copyfileobj(source, out)
PY
  ;;
*)
  echo "cultivar: TENSORFLOW is $variant, but must be cpu or cuda" >&2
  exit 1
  ;;
esac
