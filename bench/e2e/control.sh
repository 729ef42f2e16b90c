#!/usr/bin/env bash
# What remote control, events and health cost, and whether they leave anything behind: see control.py.
set -euo pipefail
cd "$(dirname "$0")/../.."

python="$(tests/setup.sh)"
cargo build --release --quiet
export CELERIAC_BIN="${CARGO_TARGET_DIR:-$PWD/target}/release/celeriac"
exec "$python" bench/e2e/control.py "$@"
