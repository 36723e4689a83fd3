"""A convolution's matrices as lines of text and as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...table import table
from ..page import number
from .letters import dot, shown
from .matrix import Matrix

MANY = 16  # column sums that still go into a sentence


def size_formula(m: Matrix) -> list[str]:
    """The output's size along each axis, with its numbers."""
    w = m.window
    return [
        f"({n} + {low} + {high} - {d} * ({k} - 1) - 1) // {s} + 1 = {out}"
        for n, (low, high), d, k, s, out in zip(w.size, w.padding, w.dilation, w.kernel, w.stride, w.output)
    ]


def title(m: Matrix) -> str:
    w = m.window
    text = f"convolution of {by(w.size)} cells with a kernel of {by(w.kernel)}, stride {by(w.stride)}"
    padding = tuple(low if low == high else (low, high) for low, high in w.padding)
    return text + f", padding {by(padding)}" + (f", dilation {by(w.dilation)}" if set(w.dilation) != {1} else "")


def by(values: tuple) -> str:
    """One entry if all agree and there is one axis only, else one per axis: "3 x 3"."""
    return " x ".join(map(str, values))


def equations(m: Matrix) -> dict[str, str]:
    """What each product gives, in one line each."""
    kernel, flipped, u = listed(spread(m)), listed(np.flip(spread(m))), tuple_of(m.cotangents)
    unpadded = [t for t, real in zip(m.transposed(), m.inside) if real]
    extra = f", output_padding {by(m.unreached)}" if any(m.unreached) else ""
    return {
        "X ã": tuple_of(m.outputs()),
        f"Xᵀ u, u = {u}": tuple_of(m.transposed()),
        f"Xᵀ u on the input alone: transposed convolution{extra}": tuple_of(unpadded),
        f"zero insertion: {tuple_of(m.stuffed)} convolved with {kernel}, or correlated with {flipped}": tuple_of(
            inserted(m)
        ),
        "cross-correlation, what frameworks compute": tuple_of(m.outputs()),
        f"convolution, the kernel flipped to {listed(np.flip(m.kernel))}": tuple_of(m.outputs(flipped=True)),
    }


def spread(m: Matrix) -> np.ndarray:
    """The kernel with dilation - 1 zeros between its taps."""
    wide = np.zeros(m.window.span, m.kernel.dtype)
    wide[tuple(slice(None, None, d) for d in m.window.dilation)] = m.kernel
    return wide


def inserted(m: Matrix) -> list[str]:
    """The cotangent with zeros inserted, convolved in full with the kernel: Xᵀ u, but for cells that no window reaches.

    ``(z * k)[i] = sum over t of k[t] z[i - t]``, written in the order of u.
    """
    z, kernel = np.reshape(np.array(m.stuffed, object), m.stuffed_size), spread(m)
    size = tuple(n + span - 1 for n, span in zip(z.shape, kernel.shape))
    sums = []
    for i in np.ndindex(*size):
        at = [(t, tuple(a - b for a, b in zip(i, t))) for t in np.ndindex(*kernel.shape)]
        met = [(kernel[t], str(z[j])) for t, j in at if all(0 <= a < n for a, n in zip(j, z.shape))]
        met = [(factor, name) for factor, name in met if name != "0"]
        met.sort(key=lambda pair: m.cotangents.index(pair[1]))
        sums.append(dot([factor for factor, _ in met], [name for _, name in met]))
    return sums


def facts(m: Matrix) -> list[str]:
    """What is worth knowing of X, in a line each."""
    w, checks = m.window, m.checks
    filled = int((m.taps >= 0).sum())
    return [
        f"X has {m.taps.size} entries, {filled} of them from the kernel's {w.taps} values: "
        + ("Toeplitz" if w.rank == 1 else "doubly block Toeplitz")
        + (" up to the stride" if set(w.stride) != {1} else ""),
        f"adjoint residual |<X a, b> - <a, Xᵀ b>| / scale on random numbers: {number(checks['adjoint'])}",
        f"largest difference from F.conv: {number(checks['conv'])}; of Xᵀ from F.conv_transpose: "
        f"{number(checks['conv_transpose'])}",
        checkerboard(m),
        "Xᵀ is no inverse: it puts every output back to where it came from, it does not undo the sum",
    ]


def checkerboard(m: Matrix) -> str:
    """What Xᵀ makes of a constant."""
    sums, listing = m.phase_sums(), m.column_sums()
    line = "column sums, what Xᵀ makes of ones: "
    line += f"{tuple_of(listing)}; away from the border " if len(listing) <= MANY else "away from the border "
    if len(sums) == 1:
        return line + f"all are {sums[0]}"
    if len(set(sums)) == 1:
        return line + f"all are {sums[0]}: a constant stays a constant"
    return line + f"{', '.join(sums)} take turns: a checkerboard unless {' = '.join(sums)}"


def grid(matrix: np.ndarray, rows: list[str], columns: list[str]) -> list[str]:
    """A matrix with names of its rows and columns, right-aligned; 0 as a dot."""
    body = [[name, *("." if e == 0 else shown(e) for e in line)] for name, line in zip(rows, matrix)]
    return table([["", *columns], *body], ">", indent="  ", gap=" ")


def text(m: Matrix) -> str:
    """Title, X, its transpose, im2col, equations, facts."""
    outputs = output_names(m)
    patch = [[m.inputs[i] for i in row] for row in m.columns]
    taps = [shown(e) for e in m.kernel.ravel().tolist()]
    lines = [
        title(m),
        *(f"output = {line}" for line in size_formula(m)),
        "\nX, columns are the padded input ã:",
        *grid(m.X, outputs, m.inputs),
        "\nXᵀ, columns are u:",
        *grid(m.X.T, m.inputs, m.cotangents),
        "\nim2col, the cell that each tap meets at each output; y = kernel · columns:",
        *grid(np.array(patch, object), taps, outputs),
        "",
        *(f"{name}:\n  {value}" for name, value in equations(m).items()),
        "",
        *facts(m),
    ]
    return "\n".join(lines)


def content(m: Matrix) -> dict[str, Any]:
    """All of it as plain values."""
    w = m.window
    return {
        "kernel": m.kernel.tolist(), "size": w.size, "stride": w.stride, "padding": w.padding, "dilation": w.dilation,
        "output": w.output, "inputs": m.inputs, "X": m.X, "inside": m.inside, "u": m.cotangents,
        "im2col": [[m.inputs[i] for i in row] for row in m.columns], "unreached": m.unreached,
        "equations": equations(m), "column_sums": m.column_sums(), "phase_sums": m.phase_sums(), "checks": m.checks,
    }  # fmt: skip


def output_names(m: Matrix) -> list[str]:
    """y0, y1, ... or y(0,0), y(0,1), ..."""
    if m.window.rank == 1:
        return [f"y{i}" for i in range(m.window.positions)]
    return [f"y({','.join(map(str, o))})" for o in np.ndindex(*m.window.output)]


def tuple_of(entries: list[str]) -> str:
    return f"({', '.join(entries)})"


def listed(kernel: np.ndarray) -> str:
    """[x, y, z], or [[a, b], [c, d]]."""
    if kernel.ndim == 1:
        return f"[{', '.join(map(shown, kernel.tolist()))}]"
    return f"[{', '.join(map(listed, kernel))}]"
