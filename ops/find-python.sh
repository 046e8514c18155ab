#!/bin/sh
# Prints the path of a Python that gridflow runs on, 3.11 before 3.12.
# With an argument, 3.11 or 3.12: of that one only. $PYTHON, where set, is the only candidate.
# On PATH, of pyenv, of uv; a shim that has no Python behind it does not count.
wanted=${1:-3.11 3.12}

fits() { # program version
    "$1" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != sys.argv[1])' "$2" >/dev/null 2>&1
}

for version in $wanted; do
    if [ -n "${PYTHON:-}" ]; then
        candidates=$PYTHON
    else
        candidates="python$version python3 python"
        for folder in "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*; do
            candidates="$candidates $folder/bin/python"
        done
        if command -v uv >/dev/null 2>&1; then
            candidates="$candidates $(UV_PYTHON_DOWNLOADS=never uv python find --no-project "$version" 2>/dev/null)"
        fi
    fi
    for candidate in $candidates; do
        if fits "$candidate" "$version"; then
            exec "$candidate" -c 'import sys; print(sys.executable)'
        fi
    done
done
echo "error: gridflow needs Python ${1:-3.11 or 3.12}, and none was found on PATH, with pyenv or with uv." >&2
echo "Install one (Debian 12: apt-get install python3 python3-venv; else: uv python install 3.12)," >&2
echo "or name it: make PYTHON=/path/to/python ..." >&2
exit 1
