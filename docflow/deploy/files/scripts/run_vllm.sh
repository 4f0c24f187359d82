#!/usr/bin/env bash
# Starts vLLM and the gateway, and waits until vLLM answers. Says at once where there is no GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source-path=SCRIPTDIR source=waiting.sh
. scripts/waiting.sh
# shellcheck source-path=SCRIPTDIR source=gpu.sh
. scripts/gpu.sh

if [ $# -ne 0 ]; then
  echo "usage: [MODEL_ID=MODEL] [TIMEOUT_SECONDS=900] scripts/run_vllm.sh" >&2
  exit 2
fi
need_gpu
COMPOSE=(docker compose -f docker-compose.yml -f docker-compose.vllm.yml)
"${COMPOSE[@]}" up --build --detach
wait_for vllm "${TIMEOUT_SECONDS:-900}" "${VLLM_HEALTH_URL:-http://localhost:8001/v1/models}"
