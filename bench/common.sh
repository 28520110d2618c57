# What run.sh and scale.sh share; sourced in this folder.
bench_setup() {
  go build -o bin/ ./cmd/...
  gatehouse=${GATEHOUSE:-$PWD/../bin/gatehouse}
  [ -x "$gatehouse" ] || { echo "no $gatehouse: run make build first" >&2; exit 1; }
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  out=${OUT:-$work/out.jsonl}
  commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
  # The results themselves are no change of what was measured.
  [ -z "$(git status --porcelain -- .. ':!RESULTS.md' 2>/dev/null)" ] || commit="$commit and changes that were not committed"
}

# bench_report prints the tables; with RESULTS=1 it also writes RESULTS.md.
bench_report() {
  local into=()
  [ "${RESULTS:-}" = 1 ] && into=(-results RESULTS.md)
  bin/run -report "$out" -commit "$commit" "$@" "${into[@]}"
}
