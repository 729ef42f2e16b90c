#!/usr/bin/env bash
# Python apps: the same app under celeriac and under Celery's own worker. Each takes --help.
#
#   bench/e2e/apps.sh drain        tasks a second from RabbitMQ, and what main spends on each
#   bench/e2e/apps.sh latency      from publication to start at an idle worker, beside a bare consumer in C;
#                                  needs a C compiler and librabbitmq (Debian: librabbitmq-dev)
#   bench/e2e/apps.sh memory       the weight of all processes of a Django-size app with eight children
#   bench/e2e/apps.sh soak         main's memory over a million tasks
set -euo pipefail
cd "$(dirname "$0")/../.."

what="${1:?drain, latency, memory or soak}"
shift
python="$(tests/setup.sh)"
cargo build --release --quiet
target="${CARGO_TARGET_DIR:-$PWD/target}/release"
export CELERIAC_BIN="$target/celeriac"
case "$what" in
drain) exec "$python" bench/e2e/drain.py --workers celeriac-python,celery --tasks 20000 --prefetch 200 "$@" ;;
latency)
    cc -O2 -o "$target/bare-consumer" bench/e2e/consumer.c -lrabbitmq
    exec "$python" bench/e2e/latency.py --consumer "$target/bare-consumer" "$@"
    ;;
memory | soak) exec "$python" "bench/e2e/$what.py" "$@" ;;
*) echo "apps.sh: drain, latency, memory or soak, not $what" >&2; exit 2 ;;
esac
