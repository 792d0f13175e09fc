#!/bin/bash
# What the kubelet asks of Envoy, whose admin interface is on loopback alone: envoy.sh ready|alive|drain SECONDS.
set -u
admin=${ENVOY_ADMIN_PORT:-9901}

# The answer to METHOD PATH.
ask() {
  exec 3<>"/dev/tcp/127.0.0.1/$admin" || return 1
  printf '%s %s HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\nconnection: close\r\n\r\n' "$1" "$2" >&3
  cat <&3
  exec 3>&-
}

succeeds() { [[ $(ask GET "$1") == "HTTP/1.1 200 "* ]]; }

# No longer ready, and connections are closed after the answers they wait for. It is over when none is left, but not before
# clients and load balancers had time to hear of it; and in any case after $1 seconds.
drain() {
  ask POST /healthcheck/fail >/dev/null || exit 0
  local least=$((SECONDS + ($1 < 5 ? $1 : 5))) most=$((SECONDS + $1))
  while ((SECONDS < most)); do
    if ((SECONDS >= least)) && [[ $(ask GET /stats?filter=^server.total_connections$) == *"total_connections: 0"* ]]; then
      return
    fi
    sleep 1
  done
}

case ${1:-} in
  ready) succeeds /ready ;;
  alive) succeeds /server_info ;;
  drain) drain "$2" ;;
  *)
    echo "usage: envoy.sh ready|alive|drain SECONDS" >&2
    exit 2 ;;
esac
