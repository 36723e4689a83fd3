#!/usr/bin/env bash
# scipy.io.loadmat(path, mat_dtype=True), which is to give the types that MATLAB has, drops imaginary parts: a complex
# array comes back real. Without mat_dtype it comes back whole. There is a warning, and no error.
# Fails if that changes: then minidl/files/weights could read .mat files through SciPy in this respect.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv && venv/bin/pip install --quiet numpy==2.4.6 scipy==1.17.1
venv/bin/python -W ignore - <<'PYTHON'
import numpy as np, scipy
from scipy.io import loadmat, savemat

saved = np.array([[1 + 2j, 3 - 4j]])
savemat("x.mat", {"x": saved})
plain, typed = (loadmat("x.mat", mat_dtype=asked)["x"] for asked in (False, True))
print("SciPy", scipy.__version__, "saved", saved, "read", plain, "and with mat_dtype=True", typed)
assert np.array_equal(plain, saved) and np.array_equal(typed, [[1, 3]]), "the behaviour has changed"
PYTHON
