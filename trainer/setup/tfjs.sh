#!/usr/bin/env bash
# Fetches the bundle of TensorFlow.js that goes into try.html from its hash-pinned npm package, as DIR/tf.min.js
# (default .deps/tfjs). Done once; a second call returns at once. Without npm nothing is fetched: only the export format
# html needs it, and says so.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-$here/../../.deps/tfjs}
package=@tensorflow/tfjs@4.22.0
# As the registry publishes it for this version: npm view @tensorflow/tfjs@4.22.0 dist.integrity.
integrity=sha512-0TrIrXs6/b7FLhLVNmfh8Sah6JgjBPH4mZ8JGb7NU6WW+cx00qK5BcAZxw7NCzxj6N8MRAIfHq+oNbPUNG5VAg==
# Also in trainer/internal/export/tfjs/page.go, which puts no other bundle into a page.
bundle=300dfae273d20b4046f46a06d735688f03675a807561e9bcb5f664eb2f3d2831
sum() { if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1; }
[ -f "$dir/tf.min.js" ] && [ "$(sum "$dir/tf.min.js")" = "$bundle" ] && exit 0

if ! command -v npm >/dev/null; then
  echo "cultivar: npm is missing, so TensorFlow.js is not fetched and the export format html cannot be made; install npm (Debian: apt-get install npm) and run $0" >&2
  [ "${CULTIVAR_REQUIRE_TFJS:-}" = 1 ] && exit 1
  exit 0
fi
echo "cultivar: fetching TensorFlow.js (30 MB, 1.5 of which are kept, once)" >&2
mkdir -p "$dir"
tmp=$(mktemp -d "$dir/.fetch.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && npm pack --silent "$package" >/dev/null)
archive=$(echo "$tmp"/*.tgz)
got=sha512-$(python3 -c 'import base64, hashlib, sys; print(base64.b64encode(hashlib.sha512(open(sys.argv[1], "rb").read()).digest()).decode())' "$archive")
if [ "$got" != "$integrity" ]; then
  echo "cultivar: $package is $got instead of $integrity; nothing was installed" >&2
  exit 1
fi
tar -xzf "$archive" -C "$tmp" package/dist/tf.min.js
if [ "$(sum "$tmp/package/dist/tf.min.js")" != "$bundle" ]; then
  echo "cultivar: dist/tf.min.js of $package is not the pinned one; nothing was installed" >&2
  exit 1
fi
mv -f "$tmp/package/dist/tf.min.js" "$dir/tf.min.js"
