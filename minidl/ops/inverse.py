"""The inverse of a matrix, and its determinant."""

from __future__ import annotations

from ..core.primitive import primitive
from .linear import matmul_p
from .shape import broadcast_to_p, reshape, swapaxes


def _all_of_a(n, a):
    """Each entry depends on all of its matrix."""
    return broadcast_to_p(reshape(n.reshape(*a.shape[:-2], -1).sum(-1), (*a.shape[:-2], 1, 1)), shape=a.shape)


@primitive(formula="y with y @ a = 1", saves=("y",), support=_all_of_a, floats=True)
def inverse(xp, a):
    """The inverses of square matrices (..., N, N). Raises LinAlgError for a singular one."""
    return xp.linalg.inv(a)


@inverse.rule("a", formula="-y^T @ g @ y^T")
def inverse_a(g, y, a):
    transposed = swapaxes(y, -1, -2)
    return -matmul_p(matmul_p(transposed, g), transposed)


@primitive(
    formula="sum over permutations p of sign(p) * product over i of a[i, p(i)]", support=_all_of_a, floats=True
)  # fmt: skip
def det(xp, a):
    """The determinants of square matrices (..., N, N) as (...,). Its rule needs the inverse: not of a singular one."""
    return xp.linalg.det(a)


@det.rule("a", formula="g * y * inverse(a)^T")
def det_a(g, y, a):
    return reshape(g * y, (*y.shape, 1, 1)) * swapaxes(inverse(a), -1, -2)
