#!/usr/bin/env bash
# The tables of RESULTS.md for the binary in ../bin: Gatehouse with everything
# on, the bare reverse proxy it is compared with, and the public neighbours that
# this machine has.
#
# ROUNDS, SCENARIOS, SCALE, ONLY and EXTRAS narrow it; RESULTS=1 writes
# RESULTS.md; MICRO=0 leaves the microbenchmarks out; PROFILE=DIR keeps CPU
# profiles (the figures of such a run are not for comparing); OUT=FILE keeps the
# measurements; GATEHOUSE is another binary.
set -euo pipefail
cd "$(dirname "$0")"
. ./common.sh
bench_setup
nginx=$(command -v nginx || echo /usr/sbin/nginx)
caddy=$(command -v caddy || true)
targets=targets/ours.json
only=direct,rp,nethttp-full,gatehouse,gatehouse-groups,gatehouse-vat
public=()
[ -x "$nginx" ] && public+=(nginx) || echo "no nginx on this machine: left out"
[ -n "$caddy" ] && public+=(caddy) || echo "no caddy on this machine: left out"
if [ ${#public[@]} -gt 0 ]; then
  targets=$targets,targets/public.json
  only=$only,$(IFS=,; echo "${public[*]}")
fi
extras=${EXTRAS-paired,cut,start}
profile=()
if [ -n "${PROFILE:-}" ]; then
  mkdir -p "$PROFILE"
  profile=(-profile "$PROFILE")
fi
bin/run -bin bin -targets "$targets" -only "${ONLY:-$only}" -rounds "${ROUNDS:-3}" -scale "${SCALE:-1}" \
  -scenarios "${SCENARIOS:-}" -extras "$extras" "${profile[@]}" -logs "$work" -out "$out" \
  -set WORK="$work" -set GATEHOUSE="$gatehouse" -set NGINX="$nginx" -set PEERS="$(dirname "${caddy:-/none}")" -set CFG="$PWD/targets" -set PORTKEY=
report=()
if [ "${MICRO:-1}" = 1 ]; then
  (cd .. && go test -run '^$' -bench 'BenchmarkPassThrough|BenchmarkDecide|BenchmarkScan$|BenchmarkSplitter' -benchmem -cpu 1 \
    ./internal/gateway ./internal/authz ./internal/jsonpeek ./internal/sse) >"$work/micro.txt" ||
    echo "the microbenchmarks did not run; their lines are missing"
  report=(-micro "$work/micro.txt")
fi
bench_report "${report[@]}"
