#!/bin/sh
# Rewrites constraints.txt with the versions in .venv, after a run of the tests that passed with them.
# Left out: pip, sfumato itself, the peer that is installed without its requirements, the build of torch ("+cpu"), and the packages of CUDA, which only
# one build of torch needs.
set -eu
cd "$(dirname "$0")/.."
{
    echo "# Versions that the tests passed with, Python 3.11 on Linux. Written by tools/freeze.sh."
    .venv/bin/python -m pip freeze --all --exclude-editable |
        sed 's/+cpu$//' | grep -v -i -E '^(pip|wheel|sfumato|neuraloperator|tensorly|nvidia-|triton|cuda-)'
} >constraints.new
mv constraints.new constraints.txt
