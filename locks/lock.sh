#!/bin/sh
# Write the lock files that the Dockerfile installs from, every package with its digests, and the
# constraints of the tests' environment.
# Called by `make lock`, with uv on the path; it asks the package index that uv is set up for.
set -eu
cd "$(dirname "$0")/.."

# The one torch that is tested.
torch=$(mktemp)
trap 'rm -f "$torch"' EXIT
sed -n "s/.*'\(torch==[^']*\)'.*/\1/p" Makefile >"$torch"

lock() { # NAME EXTRA…
  name=$1
  shift
  extras=""
  for extra in "$@"; do extras="$extras --extra $extra"; done
  # shellcheck disable=SC2086
  uv pip compile --quiet pyproject.toml $extras --universal --python-version 3.11 \
    --constraints "$torch" --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade \
    --output-file "locks/$name.txt"
}

lock cpu server cpu otel pacs parquet s3
lock gpu server gpu otel pacs parquet s3
lock gpu-torch server gpu-torch otel pacs parquet s3
lock export export cpu
# What the tests run with: versions alone, since torch's build for the machine has other digests.
uv pip compile --quiet pyproject.toml --extra dev --extra cpu --universal --python-version 3.10 \
  --constraints "$torch" --no-emit-index-url --no-header --no-annotate --upgrade |
  grep -vE '^(torch|triton|nvidia-|cuda-)' >locks/dev.txt
printf 'setuptools>=77\nwheel\n' | uv pip compile --quiet - --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade \
  --output-file locks/build.txt
# What lists the packages of an image, in a stage of its build.
printf 'cyclonedx-python-lib[json-validation]>=11\n' | uv pip compile --quiet - --universal \
  --python-version 3.11 --constraints locks/dev.txt --generate-hashes --no-emit-index-url --no-header \
  --no-annotate --upgrade --output-file locks/sbom.txt
