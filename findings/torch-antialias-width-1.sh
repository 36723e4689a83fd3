#!/usr/bin/env bash
# torch.nn.functional.interpolate with antialias=True repeats the first row of an image that is one pixel wide; without it,
# and for the same image two pixels wide, the samples are right. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv && venv/bin/pip install --quiet numpy==2.4.6 torch==2.13.0
venv/bin/python - <<'PYTHON'
import torch
from torch.nn.functional import interpolate

print("torch", torch.__version__)
column = torch.tensor([0.0, 1.0], dtype=torch.float64).reshape(1, 1, 2, 1)
for mode in ("bilinear", "bicubic"):
    alone = interpolate(column, size=(3, 1), mode=mode, antialias=True).flatten()
    twice = interpolate(column.repeat(1, 1, 1, 2), size=(3, 2), mode=mode, antialias=True)[0, 0, :, 0]
    plain = interpolate(column, size=(3, 1), mode=mode).flatten()
    print(mode, "one pixel wide", alone.tolist(), "two wide", twice.tolist(), "without antialias", plain.tolist())
    assert (alone == alone[0]).all() and twice[1] > 0.4 and plain[1] > 0.4, "the behaviour has changed"
PYTHON
