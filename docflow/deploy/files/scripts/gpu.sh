# shellcheck shell=bash
# Ends with a message where there is no GPU. Sourced by the scripts that start an engine.

need_gpu() {
  if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU '; then
    return
  fi
  cat >&2 <<'MESSAGE'
No NVIDIA GPU is usable here (nvidia-smi finds none), and this engine cannot start without one.
Without a GPU, leave the engine's overlay out: the service then answers by its embedded engine. An external model can
stand in as well, as in GATEWAY_UPSTREAMS="gpt-4o-mini=litellm://gpt-4o-mini" with that provider's key.
MESSAGE
  exit 1
}
