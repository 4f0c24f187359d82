# shellcheck shell=bash
# Shared by the scripts that start an engine beside the gateway.

# Whether a variable has a value, here or in .env, from which docker compose takes it.
has_value() {
  [ -n "${!1:-}" ] || { [ -f .env ] && grep -q "^$1=." .env; }
}

# answers URL: whether it answers with a 2xx.
answers() {
  curl --fail --silent --output /dev/null --max-time 5 "$1"
}

# wait_for SERVICE SECONDS URL...: until one of the URLs answers, and prints which. At the end of the time it prints
# the last lines of the service's log, and ends.
wait_for() {
  local service=$1 until=$((SECONDS + $2)) url
  shift 2
  while :; do
    for url in "$@"; do
      if answers "$url"; then
        echo "$service is up: $url answers"
        return
      fi
    done
    if [ "$SECONDS" -ge "$until" ]; then
      break
    fi
    sleep "${PAUSE_SECONDS:-5}"
  done
  echo "$service is not up: $* did not answer in time. Its last words:" >&2
  "${COMPOSE[@]}" logs --no-color --tail 50 "$service" >&2 || true
  exit 1
}
