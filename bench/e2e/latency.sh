#!/usr/bin/env bash
# How long a Python task takes from its publication to its start at an idle worker: celeriac, Celery, and, for what
# the broker needs, a bare consumer in C.
#
#   bench/e2e/latency.sh                 500 messages for each, in turns; --help says what can be changed
#
# Needs a C compiler and librabbitmq (Debian: librabbitmq-dev).
set -euo pipefail
cd "$(dirname "$0")/../.."

python="$(tests/setup.sh)"
cargo build --release --quiet
target="${CARGO_TARGET_DIR:-$PWD/target}/release"
export CELERIAC_BIN="$target/celeriac"
cc -O2 -o "$target/bare-consumer" bench/e2e/consumer.c -lrabbitmq
exec "$python" bench/e2e/latency.py --consumer "$target/bare-consumer" "$@"
