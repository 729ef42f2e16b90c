#!/usr/bin/env bash
# Every test of the project, on a bare Debian machine with Rust: installs what is missing (as root or through sudo),
# then checks style, documentation and laws, and last the stories against a real RabbitMQ and a real Celery client.
#
#   tests/run.sh                       everything
#   tests/run.sh interop [ARGS...]     only the stories, with pytest's ARGS, e.g. `-k retry`
#   tests/run.sh python [ARGS...]      only those about Python apps: the same app under Celery and under celeriac
#   tests/run.sh tasks [ARGS...]       only Celery's own integration tests of tasks, against a celeriac worker
#   tests/run.sh versions              the short comparison of an app on every Celery that is served
#   tests/run.sh broker [ARGS...]      only the embedded broker, beside RabbitMQ and under suites that others wrote
#
# `cargo test` alone needs none of this. The brokers that the stories start are private to them: nothing of the
# system's is started, stopped or used.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never RUST_BACKTRACE=1

stage() {
    echo
    echo "==> [$((SECONDS / 60))m$((SECONDS % 60))s] $*"
}

# A clone stays small: what is large is made or fetched, not committed.
check_tracked_sizes() {
    git rev-parse --is-inside-work-tree >/dev/null 2>&1 || return 0
    git ls-files -z | xargs -0 stat --format '%s %n' -- 2>/dev/null | awk '
        { total += $1 }
        $1 > 200 * 1024 { print "tracked file over 200 KiB: " $2 " (" $1 " bytes)"; bad = 1 }
        END {
            printf "%d files, %d KiB\n", NR, total / 1024
            if (total > 8 * 1024 * 1024) { print "tracked files over 8 MiB in all"; bad = 1 }
            exit bad
        }'
}

# Stories wait for what happens, with deadlines that a busy machine keeps; still, what failed is run once more by itself, and
# both runs are there to be read.
pytest_stories() {
    local folder="$1"
    shift
    export CELERIAC_BIN="${CARGO_TARGET_DIR:-$PWD/target}/release/celeriac"
    local options=(-o "cache_dir=${CARGO_TARGET_DIR:-$PWD/target}/pytest/$folder")
    "$python" -m pytest "$folder" "${options[@]}" "$@" && return
    stage "$folder: what failed, once more by itself"
    "$python" -m pytest "$folder" "${options[@]}" --last-failed --last-failed-no-failures none "$@"
}

stories() {
    stage "stories: RabbitMQ and Celery on one side, celeriac on the other"
    pytest_stories tests/interop "$@"
}

python_stories() {
    stage "Python apps: under Celery and under celeriac"
    pytest_stories tests/python "$@"
}

# Celery's own integration tests. Mostly they sleep, so they run beside other stages.
celery_tasks() {
    CELERIAC_BIN="${CARGO_TARGET_DIR:-$PWD/target}/release/celeriac" "$python" tests/suites/celery_tasks.py "$@"
}

# The embedded broker, held to RabbitMQ and to what others wrote for RabbitMQ.
broker_stories() {
    stage "broker: the same operations as on RabbitMQ"
    CELERIAC_BIN="${CARGO_TARGET_DIR:-$PWD/target}/release/celeriac" "$python" -m pytest tests/differential -q -p no:cacheprovider "$@"
    stage "broker: the suites of kombu and py-amqp"
    CELERIAC_BIN="${CARGO_TARGET_DIR:-$PWD/target}/release/celeriac" "$python" tests/suites/run.py
    stage "broker: speed and memory"
    CELERIAC_BIN="${CARGO_TARGET_DIR:-$PWD/target}/release/celeriac" "$python" tests/differential/speed.py
    CELERIAC_BIN="${CARGO_TARGET_DIR:-$PWD/target}/release/celeriac" "$python" tests/differential/speed.py --memory
}

stage "setting up"
python="$(tests/setup.sh)"

case "${1:-}" in
interop)
    shift
    cargo build --release
    stories "$@"
    exit
    ;;
python)
    shift
    cargo build --release
    python_stories "$@"
    exit
    ;;
tasks)
    shift
    cargo build --release
    celery_tasks "$@"
    exit
    ;;
versions)
    cargo build --release
    python_stories -k test_versions --versions 5.3,5.4,5.5,5.6,5.7
    exit
    ;;
broker)
    shift
    cargo build --release
    broker_stories "$@"
    exit
    ;;
esac

stage "sizes of tracked files"
check_tracked_sizes
stage "cargo fmt --check"
cargo fmt --check
stage "cargo clippy"
cargo clippy --quiet --all-targets -- -D warnings
stage "cargo doc"
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps
stage "cargo test"
cargo test --no-fail-fast
stage "cargo build --release"
cargo build --release
# What mostly waits runs beside the stories; what it says comes when they have ended.
logs="$(mktemp -d)"
python_stories >"$logs/python" 2>&1 &
apps=$!
celery_tasks >"$logs/tasks" 2>&1 &
tasks=$!
trap 'kill "$apps" "$tasks" 2>/dev/null || true; rm -rf "$logs"' EXIT
stories
wait "$apps" || { cat "$logs/python"; exit 1; }
cat "$logs/python"
stage "Celery's own integration tests of tasks"
wait "$tasks" || { cat "$logs/tasks"; exit 1; }
tail -n 20 "$logs/tasks"
broker_stories
stage "all passed"
