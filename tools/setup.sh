#!/bin/sh
# Makes the virtual environment .venv and installs sfumato into it with the tested versions.
#
#   tools/setup.sh EXTRAS STAMP        e.g.  tools/setup.sh data .venv/.ready-data
#
# Needs nothing but a Python >= 3.11: where Debian's python3 comes without `ensurepip`, pip is
# found elsewhere (see bootstrap below). PYTHON chooses the interpreter. TORCH_INDEX, if set, is the
# address of a package index to take torch from (for instance PyTorch's own index of CPU builds,
# which is far smaller than the build with CUDA).
set -eu
extras=$1 stamp=$2
venv=.venv
say() { printf '%s\n' "setup: $*" >&2; }

find_python() {
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    say "no Python >= 3.11 found (python3 is $(python3 --version 2>&1 || echo absent))."
    say "Install one, or name it: make ... PYTHON=/path/to/python3.11"
    return 1
}

# pip for an environment that was made without it: from the pip beside Python if there is one,
# else from the wheel in Debian's package python3-pip-whl, installed or only downloaded.
bootstrap() {
    "$python" -m venv --clear --without-pip "$venv" || return 1
    if "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m pip --python "$venv/bin/python" install -q pip && return 0
    fi
    folder=/usr/share/python-wheels
    if ! ls $folder/pip-*.whl >/dev/null 2>&1 && command -v apt-get >/dev/null; then
        here=$(pwd) && mkdir -p "$venv/debs" && cd "$venv/debs"
        apt-get download -qq python3-pip-whl 2>/dev/null && dpkg-deb -x python3-pip-whl*.deb .
        cd "$here" && folder=$venv/debs/usr/share/python-wheels
    fi
    for wheel in "$folder"/pip-*.whl; do
        [ -f "$wheel" ] && PYTHONPATH=$wheel "$venv/bin/python" -m pip install -q pip && return 0
    done
    return 1
}

if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
    python=$(find_python)
    say "making $venv with $python"
    # Asked first, because `venv` without ensurepip leaves half an environment and a long message.
    if "$python" -c 'import ensurepip' 2>/dev/null && "$python" -m venv --clear "$venv"; then
        :
    elif ! bootstrap; then
        say "this Python can make no environment with pip. On Debian: apt install python3-venv"
        exit 1
    fi
fi

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

# torch first and by its exact version, so that nothing installed after it can choose another build.
torch=$(sed -n 's/^\(torch==[^ ;]*\).*/\1/p' constraints.txt)
if ! "$venv/bin/python" -c "
import importlib.metadata as m, sys
sys.exit('torch==' + m.version('torch').split('+')[0] != '$torch')" 2>/dev/null; then
    say "installing $torch (the largest part; a minute or two)"
    pip install -q -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$torch"
fi
say "installing sfumato[$extras] with the versions of constraints.txt"
pip install -q -c constraints.txt -e ".[$extras]"
# A peer that one test compares with. It asks for many packages that the test does not need.
case ",$extras," in *,test,*)
    pip install -q -c constraints.txt requests &&
        pip install -q --no-deps neuraloperator==2.0.0 tensorly==0.10.0 tensorly-torch==0.5.0 ||
        say "neuraloperator could not be installed; the test beside it will be skipped"
    ;;
esac
touch "$stamp"
