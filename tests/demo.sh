#!/usr/bin/env bash
# The main job, seen from outside: a Celery client in Python sends tasks through RabbitMQ to a celeriac worker.
# Installs what is missing (as root or through sudo), starts a broker of its own, and leaves nothing running.
set -euo pipefail
cd "$(dirname "$0")/.."

python="$(tests/setup.sh)"
cargo build --release
CELERIAC_BIN="${CARGO_TARGET_DIR:-$PWD/target}/release/celeriac" exec "$python" tests/interop/demo.py
