#!/usr/bin/env bash
# Checks for what the tests of the formats for browsers need: Chromium, Node.js, and TensorFlow.js. Installs the first two where
# it may (root on Debian or Ubuntu), else prints the one line to run.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
missing=()
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
if [ ${#missing[@]} != 0 ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "cultivar: some tools of the tests are missing. On Debian or Ubuntu run: sudo apt-get install -y ${missing[*]}" >&2
    exit 1
  fi
  echo "cultivar: installing ${missing[*]}" >&2
  apt-get -o DPkg::Lock::Timeout=300 update -qq >/dev/null || true
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
CULTIVAR_REQUIRE_TFJS=1 "$here/tfjs.sh"
