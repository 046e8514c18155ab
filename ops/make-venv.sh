#!/bin/sh
# make-venv.sh FOLDER PYTHON: a virtual environment with the locked packages and gridflow itself, editable.
# What the lock file pins is checked by its hashes.
set -eu
venv=$1
python=$2

if ! "$venv/bin/python" -c '' 2>/dev/null; then
    rm -rf "$venv"
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -m venv "$venv"
    elif command -v uv >/dev/null 2>&1; then
        uv venv --quiet --seed --python "$python" "$venv"
    else
        echo "error: $python lacks the module venv (Debian: apt-get install python3-venv), and there is no uv." >&2
        exit 1
    fi
fi
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input --quiet "$@"; }
echo "installing the packages of requirements.lock into $venv"
pip install --require-hashes --requirement requirements.lock
pip install --no-deps --editable .
"$venv/bin/python" -m pip --disable-pip-version-check check
