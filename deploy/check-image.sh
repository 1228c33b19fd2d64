#!/usr/bin/env bash
# Looks through an image for what must not be in one: check-image.sh IMAGE LIMIT_MB [BASE_IMAGE].
# Every layer that BASE_IMAGE does not bring is read, so that a file removed by a later layer is found too. Fails on
# credentials, caches, a .git, files that anybody may write, setuid programs, a root user, and above LIMIT_MB (0: no limit).
set -euo pipefail
image=$1 limit=$2 base=${3:-}
docker=${DOCKER:-docker}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fail=0
wrong() { echo "cultivar: $image: $*" >&2; fail=1; }

bytes=$($docker image inspect -f '{{.Size}}' "$image")
printf '%s: %d MB\n' "$image" $((bytes / 1000000))
[ "$limit" = 0 ] || [ "$bytes" -le $((limit * 1000000)) ] || wrong "it is larger than $limit MB"

user=$($docker image inspect -f '{{.Config.User}}' "$image")
case "${user%%:*}" in "" | 0 | root) wrong "it runs as root" ;; esac
# Only names are printed: a build's log is no place for a credential either.
secret='[a-z_]*(token|secret|password|passwd|credential|api_?key)[a-z_]*'
if found=$($docker image inspect -f '{{range .Config.Env}}{{println .}}{{end}}' "$image" | grep -oiE "^$secret="); then
  wrong "its environment holds a credential: $found"
fi
if found=$($docker history --no-trunc --format '{{.CreatedBy}}' "$image" | grep -oiE "\b$secret=[^ ]" | sed 's/=.*//'); then
  wrong "its history holds a credential: $found"
fi

skip=0
if [ -n "$base" ] && $docker image inspect "$base" >/dev/null 2>&1; then
  skip=$($docker image inspect -f '{{len .RootFS.Layers}}' "$base")
  own=$($docker image inspect -f '{{join .RootFS.Layers "\n"}}' "$image" | head -n "$skip")
  [ "$own" = "$($docker image inspect -f '{{join .RootFS.Layers "\n"}}' "$base")" ] || skip=0
fi
$docker save "$image" | tar -x -C "$tmp"
layers=$(tr -d '\n' <"$tmp/manifest.json" | sed 's/.*"Layers":\[\([^]]*\)\].*/\1/' | tr ',' '\n' | tr -d '" ' | tail -n +$((skip + 1)))
for layer in $layers; do
  tar -tvf "$tmp/$layer" --numeric-owner
done | awk '{mode = $1; $1 = $2 = $3 = $4 = $5 = ""; sub(/^ +/, "")} !/(^|\/)[.]wh[.]/ {print mode, $0}' >"$tmp/files" # .wh. marks what a layer removes
[ -s "$tmp/files" ] || wrong "its layers could not be listed"

look() { # look WHAT PATTERN: a line is the mode and the path
  if found=$(grep -E "$2" "$tmp/files"); then
    wrong "$1:"$'\n'"$(head -n 5 <<<"$found")"
  fi
}
look "a cache is left" '^-[^ ]+ (\./)?(.*/)?(\.cache|pip-cache|go-build|pkg/mod|__pycache__)/'
look "package lists or archives are left" '^-[^ ]+ (\./)?var/(lib/apt/lists|cache/apt)/.+'
look "a repository is left" '^[^ ]+ (\./)?(.*/)?\.git(/|$)'
look "a credential is left" '^-[^ ]+ (\./)?(.*/)?(\.netrc|\.npmrc|\.pypirc|\.env|\.dockercfg|\.docker/config\.json|\.kube/config|id_(rsa|dsa|ecdsa|ed25519)|[^/]+\.(key|p12|pfx|kdbx)|credentials(\.json)?)$'
look "anybody may write" '^[-d].......w. (\./)?(.*[^/])?$|^d.......wx (\./)?(.*/)?$'
look "a setuid program is added" '^-(..s|.....s)'
look "a compiler or package installer is left" '^-[^ ]+ (\./)?(.*/)?bin/(gcc|cc|go|pip3?|python3?)$'

for layer in $layers; do
  mkdir -p "$tmp/root"
  tar -xf "$tmp/$layer" -C "$tmp/root" --no-same-owner --exclude='*.so*' --exclude='*.safetensors' 2>/dev/null || true
done
if [ -d "$tmp/root" ] && grep -rIl --exclude-dir=licenses -e '-----BEGIN [A-Z ]*PRIVATE KEY-----' "$tmp/root" | sed "s|^$tmp/root||"; then
  wrong "the files above hold a private key"
fi
[ $fail = 0 ] || exit 1
echo "$image: nothing in it that should not be"
