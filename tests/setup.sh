#!/usr/bin/env bash
# Install what the black-box tests, the demo and the whole-worker bench need: RabbitMQ, Redis, and a Python with
# Celery, Django and Flower.
#
#   tests/setup.sh          installs what is missing; the last line of its output is the Python to use
#
# Debian's packages come by apt (as root, or through sudo), Python's go into a virtual environment in the user's
# cache. What is already there is left alone. No system service is started or enabled: the tests start their own
# broker, on ports and in directories of their own.
set -euo pipefail

readonly CELERY_VERSION=5.7.0
readonly PYTEST_VERSION=8.4.2
readonly FLOWER_VERSION=2.2.0
readonly DJANGO_VERSION=5.2.19
readonly SENTRY_VERSION=2.75.0
readonly VENV="${CELERIAC_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/celeriac/venv-celery-$CELERY_VERSION}"
readonly POLICY=/usr/sbin/policy-rc.d

say() { echo "setup: $*" >&2; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else say "root or sudo is needed for: $*"; exit 1
    fi
}

# apt starts a newly installed daemon unless this file says no (101: forbidden by policy). An administrator's own
# policy is moved aside and put back.
forbid_service_starts() {
    if [ -e "$POLICY" ]; then as_root mv "$POLICY" "$POLICY.celeriac-saved"; fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
    as_root chmod 755 "$POLICY"
}

restore_service_starts() {
    as_root rm -f "$POLICY"
    if [ -e "$POLICY.celeriac-saved" ]; then as_root mv "$POLICY.celeriac-saved" "$POLICY"; fi
}

rabbitmq_present() {
    command -v rabbitmq-server >/dev/null || [ -x /usr/sbin/rabbitmq-server ]
}

# Units that come up at boot, one a line.
enabled_units() {
    find /etc/systemd/system -path '*.wants/*' -printf '%f\n' 2>/dev/null | sort -u
}

install_packages() {
    local wanted=() before log
    command -v python3 >/dev/null || wanted+=(python3)
    python3 -c 'import ensurepip, venv' 2>/dev/null || wanted+=(python3-venv)
    rabbitmq_present || wanted+=(rabbitmq-server)
    command -v redis-server >/dev/null || wanted+=(redis-server)
    if [ ${#wanted[@]} -eq 0 ]; then say "Debian packages: all there"; return; fi
    command -v apt-get >/dev/null || { say "no apt-get here; please install: ${wanted[*]}"; exit 1; }

    say "installing with apt: ${wanted[*]}"
    log="$(mktemp)"
    before="$(enabled_units)"
    trap restore_service_starts EXIT
    forbid_service_starts
    {
        as_root apt-get -qq update &&
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get -qq install --yes --no-install-recommends -o Dpkg::Use-Pty=0 "${wanted[@]}"
    } >"$log" 2>&1 || { cat "$log" >&2; say "apt failed"; exit 1; }
    rm -f "$log"
    restore_service_starts
    trap - EXIT

    # Nor may what came with it start at the next boot: nobody asked for a broker on this machine.
    comm -13 <(echo "$before") <(enabled_units) | while read -r unit; do
        as_root systemctl --quiet disable "$unit" 2>/dev/null || true
    done
}

install_python() {
    if "$VENV/bin/python" -c "
import celery, django, flower, msgpack, pytest, redis, sentry_sdk, sqlalchemy, yaml
assert celery.__version__ == '$CELERY_VERSION'" 2>/dev/null; then
        say "Celery $CELERY_VERSION: there"
        return
    fi
    say "installing Celery $CELERY_VERSION, Django, Flower, sentry-sdk and pytest into $VENV"
    "$VENV/bin/python" -c "" 2>/dev/null || { rm -rf "$VENV"; python3 -m venv "$VENV"; }
    "$VENV/bin/pip" --quiet --disable-pip-version-check install \
        "celery[msgpack,redis,sqlalchemy,yaml]==$CELERY_VERSION" "django==$DJANGO_VERSION" "sentry-sdk==$SENTRY_VERSION" "flower==$FLOWER_VERSION" \
        "pytest==$PYTEST_VERSION" >&2
}

# One set-up at a time, also when several clones run their tests at once.
mkdir -p "$(dirname "$VENV")"
exec 9>"$VENV.lock"
flock 9
install_packages
install_python
echo "$VENV/bin/python"
