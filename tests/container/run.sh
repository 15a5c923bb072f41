#!/bin/sh
# Build the target cpu without a daemon or a registry, and run the demo in it: as nobody, on a
# read-only root. As root; needs Debian's buildah and debootstrap, and 6 GB. Called by
# `make container-test`. The base stays in BRAINMVP_CONTAINER_WORK, for the next time.
set -eu
cd "$(dirname "$0")/../.."
missing=""
for program in buildah debootstrap; do
  command -v "$program" >/dev/null || missing="$missing $program"
done
if [ -n "$missing" ]; then
  echo "container-test: install first: apt-get install --no-install-recommends$missing" >&2
  exit 2
fi
work=${BRAINMVP_CONTAINER_WORK:-${TMPDIR:-/tmp}/brainmvp-container}
export BUILDAH_ISOLATION=chroot
storage="--root $work/images --runroot $work/run"
say() { printf '\n== %s\n' "$*"; }
cleaned() {
  code=$?
  # shellcheck disable=SC2086
  buildah $storage rm --all >/dev/null && buildah $storage rmi --all --force >/dev/null
  exit $code
}
trap cleaned EXIT

say "A base image from Debian"
[ -e "$work/base/usr/bin/python3" ] ||
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/base"
# shellcheck disable=SC2086
{
  container=$(buildah $storage from scratch)
  buildah $storage add --quiet "$container" "$work/base" /
  buildah $storage commit --quiet --rm "$container" localhost/base
}

say "The image"
# shellcheck disable=SC2086
buildah $storage build --format docker --build-arg PYTHON_IMAGE=localhost/base --target cpu \
  --volume /etc/ssl/certs:/etc/ssl/certs:ro --tag localhost/brainmvp:cpu .

say "The demo in it, as user 65532 on a read-only root"
# shellcheck disable=SC2086
{
  container=$(buildah $storage from localhost/brainmvp:cpu)
  root=$(buildah $storage mount "$container")
}
du -sh "$root"
head -n 3 "$root/usr/share/brainmvp/licences.txt"
wc "$root/usr/share/brainmvp/sbom.cdx.json" "$root/usr/share/brainmvp/licences.txt"
mkdir -p "$root/examples"
unshare --mount sh -eu -c '
  mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"
  mount --bind "$2" "$1/examples" && mount -o remount,bind,ro "$1/examples"
  mount -t tmpfs tmpfs "$1/tmp" && chmod 1777 "$1/tmp"
  mount -t proc proc "$1/proc"
  in_it() { chroot --userspec=65532:65532 "$1" env -i HOME=/tmp PATH=/opt/brainmvp/bin:/usr/bin:/bin sh -c "$2"; }
  in_it "$1" "! touch /opt/x 2>/dev/null && ! command -v gcc && ! python3 -c \"import torch\" 2>/dev/null"
  in_it "$1" "cd /tmp && python3 /examples/demo.py --out /tmp/out && ls /tmp/out"
' sh "$root" "$PWD/examples"
say "Done"
