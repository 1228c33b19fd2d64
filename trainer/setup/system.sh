#!/usr/bin/env bash
# Checks for what must come from the system: Go, a C compiler, Python 3 with pip and venv, HDF5's C library.
# Installs what is missing where it may (root on Debian or Ubuntu), else prints the one line to run.
set -euo pipefail
# CI images may hold a Go toolchain outside PATH's default; the go.mod files name the version that is needed.
if ! command -v go >/dev/null; then
  echo "cultivar: Go is missing. Install Go 1.26 or newer from https://go.dev/dl, then run the same command again." >&2
  exit 1
fi
missing=()
command -v cc >/dev/null || missing+=(gcc)
command -v make >/dev/null || missing+=(make)
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || missing+=(python3-venv)
case "$(uname -s)" in
Linux)
  [ -f "/usr/include/hdf5/serial/hdf5.h" ] || [ -f /usr/include/hdf5.h ] || missing+=(libhdf5-dev)
  [ ${#missing[@]} = 0 ] && exit 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "cultivar: installing ${missing[*]}" >&2
    apt-get -o DPkg::Lock::Timeout=300 update -qq >/dev/null || true
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    exit 0
  fi
  echo "cultivar: some tools are missing. On Debian or Ubuntu run: sudo apt-get install -y ${missing[*]}" >&2
  exit 1
  ;;
Darwin)
  [ -f "$(brew --prefix hdf5 2>/dev/null)/include/hdf5.h" ] || missing+=(hdf5)
  [ ${#missing[@]} = 0 ] && exit 0
  echo "cultivar: some tools are missing. Run: brew install ${missing[*]}" >&2
  exit 1
  ;;
esac
