"""torch.linalg, and the products of matrices and vectors, of the engine's values."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor as Value
from ..ops.inverse import det, inverse
from . import advice
from .pointwise import together
from .reductions import Pair
from .tensor import lifted


def matmul(input: Value, other: Value) -> Value:
    return F.matmul(*together(input, other))


def dot(input: Value, tensor: Value) -> Value:
    return (input * tensor).sum()


def outer(input: Value, vec2: Value) -> Value:
    return input.reshape(-1, 1) * vec2


def addmm(input: Value, mat1: Value, mat2: Value, *, beta: Any = 1, alpha: Any = 1) -> Value:
    product = F.matmul(mat1, mat2)
    return (input if beta == 1 else beta * input) + (product if alpha == 1 else alpha * product)


def addr(input: Value, vec1: Value, vec2: Value) -> Value:
    return input + outer(vec1, vec2)


def einsum(equation: str, *operands: Any) -> Value:
    operands = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    return F.einsum(equation, *operands)


def tensordot(a: Value, b: Value, dims: Any = 2) -> Value:
    if isinstance(dims, int):
        dims = (list(range(a.ndim - dims, a.ndim)), list(range(dims)))
    left, right = ([d % x.ndim for d in axes] for axes, x in zip(dims, (a, b)))
    letters = "abcdefghijklmnopqrstuvwxyz"
    first = letters[: a.ndim]
    second = [letters[13 + i] for i in range(b.ndim)]
    for i, j in zip(left, right):
        second[j] = first[i]
    rest = "".join(c for i, c in enumerate(first) if i not in left)
    rest += "".join(c for j, c in enumerate(second) if j not in right)
    return F.einsum(f"{first},{''.join(second)}->{rest}", a, b)


def cross(input: Value, other: Value, dim: int | None = None) -> Value:
    dim = next(d for d, n in enumerate(input.shape) if n == 3) if dim is None else dim
    return F.roll(
        F.roll(input, -1, dim) * F.roll(other, -2, dim) - F.roll(input, -2, dim) * F.roll(other, -1, dim), 0, dim
    )


def kron(input: Value, other: Value) -> Value:
    (a, b), (c, d) = input.shape, other.shape
    return (input.reshape(a, 1, b, 1) * other.reshape(1, c, 1, d)).reshape(a * c, b * d)


def vector_norm(x: Value, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    return F.norm(x, float(ord), dim, keepdim)


def matrix_norm(x: Value, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False) -> Value:
    return F.norm(x, 2.0, dim, keepdim) if ord == "fro" else constant(np.linalg.norm)(x, ord, dim, keepdim)


def norm(x: Value, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    return F.norm(x, 2.0 if ord in (None, "fro") else float(ord), dim, keepdim)


def cdist(x1: Value, x2: Value, p: float = 2.0) -> Value:
    a, b = x1.expand_dims(-2), x2.expand_dims(-3)
    return F.norm(a - b, p, axis=-1)


def constant(function: Callable) -> Callable:
    """A function of NumPy's arrays, whose derivative is not there: refused for tensors in a graph."""

    def of_input(*inputs: Any, **options: Any) -> Any:
        if any(isinstance(x, Value) and x.node is not None for x in inputs):
            name = function.__name__
            raise NotImplementedError(f"torch.linalg.{name} has no derivative here; detach() its input, or compose it")
        y = function(*[x.data if isinstance(x, Value) else x for x in inputs], **options)
        if isinstance(y, tuple):
            return tuple([Value(np.asarray(part)) for part in y])
        return Value(np.asarray(y))

    return of_input


def inv(A: Value) -> Value:
    return inverse(A)


def solve(A: Value, B: Value) -> Value:
    b = B.expand_dims(-1) if B.ndim == 1 else B
    tracked = A.node is not None or B.node is not None
    y = F.matmul(inverse(A), b) if tracked else constant(np.linalg.solve)(A, b)
    return y[..., 0] if B.ndim == 1 else y


def lstsq(A: Value, B: Value, **options: Any) -> Pair:
    solution, residuals, *_ = constant(np.linalg.lstsq)(A, B)
    return Pair(solution, residuals)


def pinv(input: Value, rcond: float = 1e-15) -> Value:
    return constant(np.linalg.pinv)(input, rcond)


def svd(A: Value, full_matrices: bool = True) -> tuple:
    return constant(np.linalg.svd)(A, full_matrices)


def eigh(A: Value, UPLO: str = "L") -> tuple:
    return constant(np.linalg.eigh)(A, UPLO)


LINALG: dict[str, Callable] = {
    **{f.__name__: f for f in (norm, vector_norm, matrix_norm, solve, lstsq, pinv, svd, eigh, cross, matmul)},
    "inv": inv, "det": lambda A: det(A), "cholesky": constant(np.linalg.cholesky),
    "eigvalsh": constant(np.linalg.eigvalsh), "qr": constant(np.linalg.qr), "eig": constant(np.linalg.eig),
    "matrix_rank": constant(np.linalg.matrix_rank), "slogdet": constant(np.linalg.slogdet),
    "svdvals": constant(lambda a: np.linalg.svd(a, compute_uv=False)), "eigvals": constant(np.linalg.eigvals),
    "matrix_power": constant(np.linalg.matrix_power),
    "multi_dot": lambda tensors: F.matmul(tensors[0], LINALG["multi_dot"](tensors[1:])) if tensors[1:] else tensors[0],
    "vecdot": lambda x, y, dim=-1: (x * y).sum(dim),
}  # fmt: skip
TABLE: dict[str, Callable] = {
    **{f.__name__: f for f in (matmul, dot, outer, addmm, addr, cross, kron, pinv)},
    "mm": matmul, "bmm": matmul, "mv": matmul, "inner": lambda input, other: F.matmul(input, other.swapaxes(-1, -2))
    if input.ndim > 1 else dot(input, other),
    "baddbmm": lambda input, batch1, batch2, *, beta=1, alpha=1: addmm(input, batch1, batch2, beta=beta, alpha=alpha),
    "addmv": lambda input, mat, vec, *, beta=1, alpha=1: addmm(input, mat, vec, beta=beta, alpha=alpha),
    "inverse": inv, "ger": outer, "vdot": dot, "det": LINALG["det"], "cholesky": LINALG["cholesky"],
}  # fmt: skip
FUNCTIONS: dict[str, Callable] = {"einsum": einsum, "tensordot": tensordot, "cdist": cdist,
                                  "chain_matmul": lambda *matrices: LINALG["multi_dot"](list(matrices))}  # fmt: skip


class Linalg(ModuleType):
    """torch.linalg."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(advice.unknown(f"torch.linalg.{name}", name, vars(self)))


PUBLIC = Linalg("minidl.torch.linalg")
vars(PUBLIC).update({name: lifted(f) for name, f in LINALG.items()})
