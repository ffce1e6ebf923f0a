#!/usr/bin/env bash
# Start the director beside this script; anything after the command goes to `fed director start`.
set -eu
cd "$(dirname "$0")"
exec fed director start -c director_config.yaml "$@"
