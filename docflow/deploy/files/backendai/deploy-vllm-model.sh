#!/usr/bin/env bash
# Deploys a model of the Hugging Face Hub as a vLLM server in a Backend.AI session.
#
# usage: deploy-vllm-model.sh [OPTIONS] MODEL
#
# It only calls docflow, which has all options: deploy-vllm-model.sh --help
set -euo pipefail

if ! command -v docflow >/dev/null; then
  echo "docflow is not installed: pip install docflow" >&2
  exit 1
fi
if [ $# -eq 0 ]; then
  docflow deploy backendai --help >&2
  exit 2
fi
exec docflow deploy backendai "$@"
