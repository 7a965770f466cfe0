#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Head of the packaged executable. Behind this text, from byte 65536 on, stand Deno (@DENO_BLOCKS@ blocks of
# 65536 bytes), the program's text (@MAIN_BLOCKS@ blocks) and its artefacts. Deno cannot be started where it
# stands, so it is copied to a folder of its own, opened, removed again, and only then started: nothing is
# left behind, however the program ends.
PATH=${PATH:-/usr/local/bin:/usr/bin:/bin}
export PATH
umask 077
fail() {
  echo "umbra: Cannot start: $1" >&2
  exit 4
}
folder=
trap '[ -z "$folder" ] || rm -rf "$folder"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
for place in "${TMPDIR:-/tmp}" /tmp /var/tmp /dev/shm; do
  folder=$(mktemp -d "$place/umbra.XXXXXXXXXX" 2>/dev/null) || continue
  if dd if="$0" of="$folder/deno" bs=65536 skip=1 count=@DENO_BLOCKS@ 2>/dev/null &&
    dd if="$0" of="$folder/main.js" bs=65536 skip=@MAIN_SKIP@ count=@MAIN_BLOCKS@ 2>/dev/null &&
    chmod 700 "$folder/deno" && [ -x "$folder/deno" ]; then
    exec 7<"$folder/deno" 8<"$folder/main.js" 9<"$0"
    rm -rf "$folder"
    folder=
    trap - EXIT HUP INT TERM
    DENO_DIR=/dev/null/none DENO_NO_UPDATE_CHECK=1 exec /proc/self/fd/7 run --quiet --allow-all --ext=js \
      --no-config --no-lock --no-npm --no-remote --no-code-cache /proc/self/fd/8 "$@"
  fi
  rm -rf "$folder"
  folder=
done
fail "no folder for temporary files has room for 120 MB and lets programs run (TMPDIR, /tmp, /var/tmp, /dev/shm)"
