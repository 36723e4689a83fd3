"""NIfTI files, written by the standard's table of offsets."""

import numpy as np


def write_nifti(path, a, slope=0.0, inter=0.0, order="<"):
    """A NIfTI-1 file of an array, its slowest axis first."""
    codes = {"uint8": 2, "int16": 4, "float32": 16, "float64": 64}
    head = bytearray(352)
    np.frombuffer(head, order + "i4", 1)[:] = 348
    np.frombuffer(head, order + "i2", 8, 40)[:] = [a.ndim, *reversed(a.shape), *[1] * (7 - a.ndim)]
    np.frombuffer(head, order + "i2", 1, 70)[:] = codes[str(a.dtype)]
    np.frombuffer(head, order + "f4", 3, 108)[:] = 352, slope, inter
    head[344:348] = b"n+1\0"
    path.write_bytes(bytes(head) + a.astype(a.dtype.newbyteorder(order)).tobytes())
