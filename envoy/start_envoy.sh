#!/usr/bin/env bash
# Start the envoy beside this script; anything after the command goes to `fed envoy start`.
set -eu
cd "$(dirname "$0")"
exec fed envoy start -c envoy_config.yaml "$@"
