#!/usr/bin/env bash
# A million tokens beside a small configuration: start, memory, CPU per request
# and revocation of the binary in ../bin. Filling the databases takes minutes;
# SCALE_DIR=DIR keeps them for the next time. Otherwise as run.sh.
set -euo pipefail
cd "$(dirname "$0")"
. ./common.sh
bench_setup
data=${SCALE_DIR:-$work/scale}
mkdir -p "$data"
(cd .. && go run ./internal/testkit/scale -dir "$data")
profile=()
if [ -n "${PROFILE:-}" ]; then
  mkdir -p "$PROFILE"
  profile=(-profile "$PROFILE")
fi
bin/run -bin bin -targets targets/scale.json -rounds "${ROUNDS:-5}" -scale "${SCALE:-1}" -scale-data "$data" "${profile[@]}" \
  -logs "$work" -out "$out" -set WORK="$work" -set GATEHOUSE="$gatehouse"
bench_report
