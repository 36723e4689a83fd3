"""Messages between the marker and the student's process: a line of JSON, then arrays as plain bytes.

Reading executes nothing, and reads no more than was agreed on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

LINE = 1 << 20  # bytes of a line, at most
KINDS = "biufU"  # of dtypes: booleans, whole numbers, floating point, text


def send(file: BinaryIO, message: dict[str, Any], arrays: Sequence[Any] = ()) -> None:
    """Write a message."""
    arrays = [np.asarray(a) for a in arrays]
    line = json.dumps({**message, "arrays": [[a.dtype.str, a.shape] for a in arrays]})
    file.write(line.encode() + b"\n" + b"".join(a.tobytes() for a in arrays))
    file.flush()


def receive(file: BinaryIO, most: int = 1 << 28) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Read a message, its arrays of at most so many bytes. Raises ValueError for what is none, EOFError at the end."""
    line = file.readline(LINE)
    if not line:
        raise EOFError("the pipe was closed")
    try:
        message = json.loads(line)
        described = [(np.dtype(str(dtype)), tuple(map(int, shape))) for dtype, shape in message.pop("arrays")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, SyntaxError) as error:
        raise ValueError(f"not a message: {type(error).__name__}") from None
    arrays = []
    for dtype, shape in described:
        size = math.prod(shape) * dtype.itemsize
        if dtype.kind not in KINDS or min(shape, default=0) < 0 or size > most:
            raise ValueError(f"not an array of a message: {dtype}, {shape}")
        most -= size
        data = file.read(size)
        if len(data) < size:
            raise ValueError("the message is cut off")
        arrays.append(np.frombuffer(data, dtype).reshape(shape))
    return message, arrays
