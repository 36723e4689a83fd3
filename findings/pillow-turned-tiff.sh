#!/usr/bin/env bash
# An uncompressed gray or RGBA TIFF whose orientation tag says that it lies on its side (6) is scrambled by Pillow when
# it is opened by its path, and right when the open file is handed over. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv && venv/bin/pip install --quiet numpy==2.4.6 pillow==13.0.0 tifffile==2026.3.3
venv/bin/python - <<'PYTHON'
import numpy as np, PIL, tifffile
from PIL import Image

print("Pillow", PIL.__version__)
pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
tifffile.imwrite("y.tif", pixels, extratags=[(274, "H", 1, 6, True)])
with open("y.tif", "rb") as raw, Image.open(raw) as file:
    handed = np.asarray(file)
with Image.open("y.tif") as file:
    by_path = np.asarray(file)
print("expected, turned clockwise", np.rot90(pixels, -1).tolist())
print("from the open file        ", handed.tolist())
print("by its path               ", by_path.tolist())
assert np.array_equal(handed, np.rot90(pixels, -1)), "the behaviour has changed"
assert not np.array_equal(by_path, handed), "the behaviour has changed"
PYTHON
