#!/usr/bin/env bash
# Sessions with vLLM servers on Backend.AI: list, kill, logs, test, monitor; a menu where nothing is said.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'END'
usage: vllm-examples.sh [COMMAND]

  list                 active sessions
  kill SESSION...      end sessions
  logs SESSION         what a session has written
  test URL|SESSION     try a server's API
  connect SESSION...   make servers reachable at ports of this machine
  monitor [--once]     what sessions use
  kill-idle [...]      end servers that nobody asks
  deploy MODEL [...]   deploy a model (deploy-vllm-model.sh)

Without a command: a menu.
END
}

ask() {
  local answer
  read -r -p "$1: " answer
  printf '%s' "$answer"
}

# What a command of the menu does, and whatever comes of it, the menu goes on.
try() {
  "$@" || echo "(exit code $?)" >&2
}

menu() {
  local choice
  while :; do
    cat <<'END'

 1) list sessions             6) monitor
 2) kill a session            7) end idle servers
 3) logs of a session         8) sample: a small model (microsoft/DialoGPT-medium)
 4) test a server             9) sample: documents (Qwen/Qwen2-VL-7B-Instruct)
 5) connect to a session     10) sample: check a deployment, start nothing
 q) quit
END
    read -r -p "> " choice || return 0
    case "$choice" in
      1) try docflow deploy sessions list ;;
      2) try docflow deploy sessions kill "$(ask session)" ;;
      3) try docflow deploy sessions logs "$(ask session)" ;;
      4) try docflow deploy sessions test "$(ask "URL or session")" ;;
      5) try docflow deploy sessions connect "$(ask session)" ;;
      6) try docflow deploy sessions monitor --once ;;
      7) try docflow deploy sessions kill-idle ;;
      8) try ./deploy-vllm-model.sh microsoft/DialoGPT-medium ;;
      9) try ./deploy-vllm-model.sh Qwen/Qwen2-VL-7B-Instruct --wait ;;
      10) try ./deploy-vllm-model.sh "$(ask model)" --dry-run --verbose ;;
      q | quit | exit) return 0 ;;
      *) echo "There is no entry $choice." >&2 ;;
    esac
  done
}

if ! command -v docflow >/dev/null; then
  echo "docflow is not installed: pip install docflow" >&2
  exit 1
fi
if [ $# -eq 0 ]; then
  if [ -t 0 ]; then
    menu
    exit
  fi
  usage >&2
  exit 2
fi
command=$1
shift
case "$command" in
  list | kill | logs | test | connect | monitor | kill-idle) exec docflow deploy sessions "$command" "$@" ;;
  deploy) exec ./deploy-vllm-model.sh "$@" ;;
  help | -h | --help) usage ;;
  *)
    echo "vllm-examples.sh: there is no command $command" >&2
    usage >&2
    exit 2
    ;;
esac
