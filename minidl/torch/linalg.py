"""torch.linalg, and the products of matrices and vectors, of the engine's values."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor as Value
from ..ops.inverse import det, inverse
from . import advice
from .pointwise import together
from .tensor import lifted


class SVD(NamedTuple):
    """What `svd` gives."""

    U: Any
    S: Any
    Vh: Any


class Eigen(NamedTuple):
    """What `eigh` and `eig` give."""

    eigenvalues: Any
    eigenvectors: Any


class QR(NamedTuple):
    """What `qr` gives."""

    Q: Any
    R: Any


class SignLog(NamedTuple):
    """What `slogdet` gives."""

    sign: Any
    logabsdet: Any


class Solution(NamedTuple):
    """What `lstsq` gives."""

    solution: Any
    residuals: Any
    rank: Any
    singular_values: Any


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


def lstsq(A: Value, B: Value, **options: Any) -> Solution:
    return Solution(*constant(np.linalg.lstsq)(A, B))


def pinv(A: Value, rcond: float | None = None, *, rtol: float | None = None, hermitian: bool = False) -> Value:
    """The pseudoinverse; singular values below rtol times the largest count as zero, by default eps max(m, n)."""
    rtol = rcond if rtol is None else rtol
    rtol = float(np.finfo(A.dtype).eps) * max(A.shape[-2:]) if rtol is None else rtol
    return constant(np.linalg.pinv)(A, rtol, hermitian)


def svd(A: Value, full_matrices: bool = True) -> SVD:
    return SVD(*constant(np.linalg.svd)(A, full_matrices))


def thin_svd(input: Value, some: bool = True, compute_uv: bool = True) -> tuple:
    """torch.svd: the right singular vectors are columns."""
    u, s, vh = svd(input, not some)
    return u, s, vh.swapaxes(-1, -2)


def eigh(A: Value, UPLO: str = "L") -> Eigen:
    return Eigen(*constant(np.linalg.eigh)(A, UPLO))


def solve_triangular(A: Value, B: Value, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Value:
    kept = np.triu if upper else np.tril
    a = A * Value(kept(np.ones(A.shape, A.dtype)))
    if unitriangular:
        a = a * Value(1 - np.eye(A.shape[-1], dtype=A.dtype)) + Value(np.eye(A.shape[-1], dtype=A.dtype))
    return solve(a, B) if left else solve(a.swapaxes(-1, -2), B.swapaxes(-1, -2)).swapaxes(-1, -2)


def cholesky_solve(B: Value, L: Value, upper: bool = False) -> Value:
    return solve(F.matmul(L.swapaxes(-1, -2), L) if upper else F.matmul(L, L.swapaxes(-1, -2)), B)


def matrix_power(A: Value, n: int) -> Value:
    """By repeated products, so that it can be differentiated."""
    if n <= 0:
        whole = np.broadcast_to(np.eye(A.shape[-1], dtype=A.dtype), A.shape)
        return inverse(matrix_power(A, -n)) if n else Value(whole.copy())
    half = matrix_power(A, n // 2) if n > 1 else None
    squared = A if half is None else F.matmul(half, half)
    return F.matmul(squared, A) if n > 1 and n % 2 else squared


def expm(a: np.ndarray) -> np.ndarray:
    from scipy.linalg import expm  # loading it takes time

    return expm(a)


LINALG: dict[str, Callable] = {
    **{f.__name__: f for f in (norm, vector_norm, matrix_norm, solve, lstsq, pinv, svd, eigh, matmul,
                               solve_triangular, matrix_power)},
    "cross": lambda input, other, *, dim=-1: cross(input, other, dim),
    "inv": inv, "det": lambda A: det(A), "cholesky": constant(np.linalg.cholesky),
    "eigvalsh": constant(np.linalg.eigvalsh), "qr": lambda A, mode="reduced": QR(*constant(np.linalg.qr)(A, mode)),
    "eig": lambda A: Eigen(*constant(np.linalg.eig)(A)),
    "inv_ex": lambda A: (inv(A), Value(np.zeros(A.shape[:-2], np.int32))),
    "cond": constant(np.linalg.cond), "matrix_exp": constant(expm),
    "matrix_rank": constant(np.linalg.matrix_rank), "slogdet": lambda A: SignLog(*constant(np.linalg.slogdet)(A)),
    "svdvals": constant(lambda a: np.linalg.svd(a, compute_uv=False)), "eigvals": constant(np.linalg.eigvals),
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
    "pinverse": pinv, "svd": thin_svd, "matrix_exp": LINALG["matrix_exp"], "matrix_power": matrix_power,
    "logdet": lambda input: F.log(det(input)), "slogdet": LINALG["slogdet"], "cholesky_solve": cholesky_solve,
    "qr": LINALG["qr"],
}  # fmt: skip
FUNCTIONS: dict[str, Callable] = {"einsum": einsum, "tensordot": tensordot, "cdist": cdist,
                                  "chain_matmul": lambda *matrices: LINALG["multi_dot"](list(matrices))}  # fmt: skip


class Linalg(ModuleType):
    """torch.linalg."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(advice.unknown(f"torch.linalg.{name}", name, vars(self)))


PUBLIC = Linalg("minidl.torch.linalg")
vars(PUBLIC).update({name: lifted(f) for name, f in LINALG.items()})
