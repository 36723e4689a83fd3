#!/usr/bin/env bash
# Pillow reads a compressed TIFF of float32 or int32 in big-endian order with its bytes swapped, without a warning; the
# same file uncompressed, or in little-endian order, is right. Found: the pixel 1.0 is read as 4.6e-41.
# Fails if that changes: then minidl/files/pixels.py need not ask tifffile first.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv && venv/bin/pip install --quiet numpy==2.4.6 pillow==13.0.0 tifffile==2026.3.3
venv/bin/python - <<'PYTHON'
import numpy as np, PIL, tifffile
from PIL import Image

print("Pillow", PIL.__version__, "tifffile", tifffile.__version__)
right, wrong = 0, 0
for dtype in ("f4", "i4"):
    pixels = np.arange(6, dtype=dtype).reshape(2, 3)
    for byteorder in "<>":
        for compression in (None, "zlib"):
            tifffile.imwrite("x.tif", pixels, byteorder=byteorder, compression=compression)
            assert np.array_equal(tifffile.imread("x.tif"), pixels)
            with Image.open("x.tif") as file:
                read = np.asarray(file)
            same = np.array_equal(read, pixels)
            print(dtype, byteorder, compression, "right" if same else f"WRONG: {pixels[0, 1]} is read as {read[0, 1]}")
            assert same == (not (byteorder == ">" and compression)), "the behaviour has changed"
PYTHON
