#!/usr/bin/env bash
# In vLLM's container: serve MODEL_ID on port 8001.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=gpu.sh
. "$(dirname "${BASH_SOURCE[0]}")/gpu.sh"
need_gpu
exec vllm serve "${MODEL_ID:?}" --host 0.0.0.0 --port 8001 \
  --max-model-len 16384 --gpu-memory-utilization 0.9 --limit-mm-per-prompt '{"image": 8, "video": 0}' \
  --enable-prompt-tokens-details --allowed-media-domains media.invalid \
  --structured-outputs-config '{"backend": "xgrammar", "disable_any_whitespace": true}'
