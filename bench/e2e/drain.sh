#!/usr/bin/env bash
# Whole workers side by side: how fast each drains a queue of 50,000 demo.noop, and what its main process spends on it.
#
#   bench/e2e/drain.sh                   five interleaved pairs, celeriac against rusty-celery 0.5.5
#   bench/e2e/drain.sh --help            what can be changed
set -euo pipefail
cd "$(dirname "$0")/../.."

python="$(tests/setup.sh)"
cargo build --release --quiet
cargo build --release --quiet --manifest-path bench/e2e/rusty-celery/Cargo.toml
export CELERIAC_BIN="${CARGO_TARGET_DIR:-$PWD/target}/release/celeriac"
exec "$python" bench/e2e/drain.py "$@"
