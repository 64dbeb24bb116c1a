#!/bin/sh
# Installs the Autobahn test suite into target/autobahn. It needs Python 2.7 with pip, and changes nothing there.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
home="$here/../../target/autobahn"
# The last one that makes environments for Python 2.7, and runs on it.
VIRTUALENV="virtualenv==20.15.1"

# What is installed is what this file says, or it is installed again.
cmp -s "$here/requirements.txt" "$home/suite/installed.txt" && exit 0

python=""
for candidate in ${PYTHON2:+"$PYTHON2"} python2.7 "$HOME"/.pyenv/versions/2.7.*/bin/python2.7; do
    if "$candidate" -c 'import sys, pip; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
        python="$candidate"
        break
    fi
done
if [ -z "$python" ]; then
    echo "tests/autobahn/install.sh: the suite needs Python 2.7 with pip, and there is none in PATH or ~/.pyenv." >&2
    echo "With pyenv: pyenv install 2.7.18. One that lies elsewhere: PYTHON2=/path/to/python2.7 make autobahn." >&2
    exit 1
fi

mkdir -p "$home"
rm -rf "$home/suite" "$home/virtualenv"
export PYTHONDONTWRITEBYTECODE=1 PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
"$python" -m pip install --quiet --target "$home/virtualenv" "$VIRTUALENV"
PYTHONPATH="$home/virtualenv" "$python" -m virtualenv --quiet "$home/suite"
"$home/suite/bin/pip" install --quiet --no-deps --requirement "$here/requirements.txt"
"$home/suite/bin/wstest" --autobahnversion
cp "$here/requirements.txt" "$home/suite/installed.txt"
