#!/usr/bin/env bash
# In the container of Dockerfile.vlm: vLLM and the service. When one of them ends, so does the container.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=gpu.sh
. "$(dirname "${BASH_SOURCE[0]}")/gpu.sh"
need_gpu
/opt/vllm/bin/vllm serve "${MODEL_ID:?}" --host 127.0.0.1 --port 8001 \
  --max-model-len 16384 --gpu-memory-utilization 0.9 --limit-mm-per-prompt '{"image": 8, "video": 0}' \
  --enable-prompt-tokens-details --allowed-media-domains media.invalid \
  --structured-outputs-config '{"backend": "xgrammar", "disable_any_whitespace": true}' &
docflow serve &
trap 'kill -TERM $(jobs -p) 2>/dev/null || true' TERM INT EXIT
wait -n
