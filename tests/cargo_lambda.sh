#!/usr/bin/env bash
# Sends the sample events through `cargo lambda watch` and `cargo lambda invoke`, with `cargo local endpoint` as the
# endpoint. The responses must be the same as those of `cargo local event`. Needs cargo-lambda. Stops all its processes.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
pids=()
stop() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$folder"
}
trap stop EXIT

cargo build --quiet --package instream --package instream-local
./target/debug/instream-local endpoint --port 0 >"$folder/endpoint" &
pids+=($!)
for _ in $(seq 100); do
  if grep -q '^SageMaker Runtime on' "$folder/endpoint"; then break; fi
  sleep 0.1
done
url=$(grep -o 'http://127\.0\.0\.1:[0-9]*' "$folder/endpoint" | head -n 1)

# Each event needs its own `cargo lambda watch`, since its settings are those of the process.
watch() {
  env AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME="$url" AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=local \
    AWS_SECRET_ACCESS_KEY=local ENDPOINT_NAME=fraud-detector OUTPUT=stdout: DEAD_LETTER=stdout: "$@" \
    cargo lambda watch --invoke-address 127.0.0.1 --invoke-port "$port" --ignore-changes >"$folder/watch" 2>&1 &
  watcher=$!
  pids+=("$watcher")
}

port=9100
for expected in events/*.response.json; do
  event=${expected%.response.json}.json
  settings=()
  if [ -f "${event%.json}.env" ]; then mapfile -t settings < <(grep -v -e '^#' -e '^$' "${event%.json}.env"); fi
  port=$((port + 1))
  watch "${settings[@]}"
  # The first invocation waits for the build.
  response=
  for _ in $(seq 600); do
    if response=$(cargo lambda invoke instream --invoke-address 127.0.0.1 --invoke-port "$port" --data-file "$event" 2>"$folder/invoke"); then break; fi
    if ! grep -q -i -e 'connect' -e 'error sending' "$folder/invoke"; then break; fi
    sleep 0.1
  done
  kill "$watcher" && wait "$watcher" 2>/dev/null || true
  python3 - "$expected" "$response" "$(cat "$folder/invoke")" <<'PYTHON' || { cat "$folder/watch"; exit 1; }
import json, sys
path, response, errors = sys.argv[1:]
expected = json.load(open(path))
if "errorType" in expected:
    good = expected["errorType"] in response + errors
else:
    good = response.strip() != "" and json.loads(response) == expected
print("ok" if good else f"WRONG: {response!r} {errors!r}", path)
sys.exit(0 if good else 1)
PYTHON
done
