#!/usr/bin/env bash
# Regenerate the Python code from federation.proto (needs: pip install 'grpcio-tools<1.66').
set -eu
cd "$(dirname "$0")/../.."
python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. federation/protocol/federation.proto
