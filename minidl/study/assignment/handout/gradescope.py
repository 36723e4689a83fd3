"""An autograder for Gradescope: https://gradescope-autograders.readthedocs.io.

A zip with setup.sh, which makes two environments, the marker's, closed to all but root, and the students' with NumPy
alone; and run_autograder, which marks /autograder/submission and writes /autograder/results/results.json.
"""

from __future__ import annotations

import shlex
import zipfile
from collections.abc import Mapping
from pathlib import Path

import minidl

from ....files.atomic import replacing

SETUP = """#!/usr/bin/env bash
# Run once, as root, when the autograder is built.
set -euo pipefail
root=${AUTOGRADER:-/autograder}
user=${STUDENT-student}
python=${PYTHON:-python3}
if ! "$python" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    apt-get update -qq
    apt-get install -y -qq python3-venv || true
    if ! "$python" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        apt-get install -y -qq python3.11-venv
        python=python3.11
    fi
fi
for name in marker student; do
    "$python" -m venv "$root/$name"
    "$root/$name/bin/pip" install --quiet 'numpy>=2.0' 'scipy>=1.13'
done
[ -z "$user" ] || id "$user" >/dev/null 2>&1 || useradd --create-home "$user"
chmod 700 "$root/source" "$root/marker"  # the answers, and the secret
"""

RUN = """#!/usr/bin/env bash
# Run for every submission, as root.
set -euo pipefail
root=${{AUTOGRADER:-/autograder}}
user=${{STUDENT-student}}
cd /
mkdir -p "$root/results"
PYTHONPATH="$root/source/marker" "$root/marker/bin/python" -P -m minidl assignment grade "$root/submission" \\
    --ask {asked} --seed "@$root/source/seed" --jobs 1 \\
    --python "$root/student/bin/python" ${{user:+--user "$user"}} \\
    --gradescope "$root/results/results.json" || [ $? -eq 4 ]
"""
TEXT = (".py", ".css", ".js")


def write(path: Path, asked: Mapping[str, float], secret: str) -> None:
    """Write the zip; the same bytes for the same input."""
    home = Path(minidl.__file__).parent
    sources = sorted(file for file in home.rglob("*") if file.suffix in TEXT and "__pycache__" not in file.parts)
    words = " ".join(shlex.quote(f"{name}={points:g}") for name, points in asked.items())
    files = {"setup.sh": SETUP, "run_autograder": RUN.format(asked=words), "seed": f"{secret}\n"}
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o100600 if name == "seed" else 0o100755) << 16
            archive.writestr(info, text, zipfile.ZIP_DEFLATED)
        for source in sources:
            name = "/".join(("marker", "minidl", *source.relative_to(home).parts))
            archive.writestr(zipfile.ZipInfo(name), source.read_bytes(), zipfile.ZIP_DEFLATED)


