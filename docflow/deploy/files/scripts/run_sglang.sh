#!/usr/bin/env bash
# Starts SGLang and the gateway, and waits until SGLang answers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source-path=SCRIPTDIR source=waiting.sh
. scripts/waiting.sh

usage() {
  cat >&2 <<'USAGE'
usage: SGLANG_IMAGE=IMAGE SGLANG_COMMAND=COMMAND scripts/run_sglang.sh

  SGLANG_IMAGE                the container image, such as lmsysorg/sglang:v0.5.23
  SGLANG_COMMAND              what it runs: python3 -m sglang.launch_server ... --host 0.0.0.0 --port 8002
  SGLANG_HEALTH_URL           asked first (http://localhost:8002/health)
  SGLANG_HEALTH_FALLBACK_URL  asked where that fails (http://localhost:8002/v1/models)
  TIMEOUT_SECONDS             how long to wait for an answer (900)

The first two may stand in .env.
USAGE
  exit 2
}

[ $# -eq 0 ] || usage
has_value SGLANG_IMAGE || usage
has_value SGLANG_COMMAND || usage
: "${SGLANG_HEALTH_URL:=http://localhost:8002/health}"
: "${SGLANG_HEALTH_FALLBACK_URL:=http://localhost:8002/v1/models}"

COMPOSE=(docker compose -f docker-compose.yml -f docker-compose.sglang.yml)
"${COMPOSE[@]}" up --build --detach
wait_for sglang "${TIMEOUT_SECONDS:-900}" "$SGLANG_HEALTH_URL" "$SGLANG_HEALTH_FALLBACK_URL"
