#!/usr/bin/env bash
# The table of RESULTS.md for the binary in ../bin: Gatehouse with everything
# on, the bare reverse proxy it is compared with, and the public neighbours that
# this machine has. ROUNDS, SCENARIOS and SCALE narrow it.
set -euo pipefail
cd "$(dirname "$0")"
go build -o bin/ ./cmd/...
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
nginx=$(command -v nginx || echo /usr/sbin/nginx)
caddy=$(command -v caddy || true)
targets=targets/ours.json
only=rp,nethttp-full,gatehouse
public=()
[ -x "$nginx" ] && public+=(nginx) || echo "no nginx on this machine: left out"
[ -n "$caddy" ] && public+=(caddy) || echo "no caddy on this machine: left out"
if [ ${#public[@]} -gt 0 ]; then
  targets=$targets,targets/public.json
  only=$only,$(IFS=,; echo "${public[*]}")
fi
out=${OUT:-$work/out.jsonl}
bin/run -bin bin -targets "$targets" -only "$only" -rounds "${ROUNDS:-3}" -scale "${SCALE:-1}" \
  -scenarios "${SCENARIOS:-}" -logs "$work" -out "$out" \
  -set WORK="$work" -set GATEHOUSE="$PWD/../bin/gatehouse" -set NGINX="$nginx" -set PEERS="$(dirname "${caddy:-/none}")" -set CFG="$PWD/targets" -set PORTKEY=
bin/run -report "$out"
