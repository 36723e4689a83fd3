"""Formulas that run: those of elementwise primitives are Python expressions, evaluated here with NumPy's names."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

NAMES = {name: value for name, value in vars(np).items() if callable(value)}  # vars: dir would import all of NumPy
NAMES |= {"pi": np.pi} | {f.__name__: np.vectorize(f, otypes=[float]) for f in (math.erf, math.erfc)}


def evaluate(formula: str, values: dict[str, Any]) -> np.ndarray:
    """The value of a formula, given its arguments, parameters, `g` and `y`."""
    return _run(ast.parse(formula, mode="eval"), values)


def _run(tree: ast.Expression, values: dict[str, Any]) -> np.ndarray:
    code = compile(ast.fix_missing_locations(tree), "<formula>", "eval")
    with np.errstate(all="ignore"):
        return np.asarray(eval(code, {**NAMES, **values, "__builtins__": {}}))


def sum_to(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Undo broadcasting: the adjoint of numpy.broadcast_to."""
    x = x.sum(axis=tuple(range(x.ndim - len(shape))))
    return x.sum(axis=tuple(a for a, n in enumerate(shape) if n == 1 and x.shape[a] != 1), keepdims=True)


def without_a_part(formula: str, values: dict[str, Any]) -> Iterator[tuple[str, str, np.ndarray]]:
    """The formula with one term or one factor left out: (kind, which, value). What a dropped term would compute."""
    positions = [i for i, node in enumerate(ast.walk(ast.parse(formula, mode="eval"))) if isinstance(node, ast.BinOp)]
    for position in positions:
        for side in ("left", "right"):
            tree = ast.parse(formula, mode="eval")
            node = list(ast.walk(tree))[position]
            if isinstance(node.op, (ast.Add, ast.Sub)):
                kind = "missing term"
            elif isinstance(node.op, (ast.Mult, ast.Div)):
                kind = "missing factor"
            else:
                continue
            dropped = getattr(node, side)
            rest: ast.expr = node.right if side == "left" else node.left
            if side == "left" and isinstance(node.op, ast.Sub):
                rest = ast.UnaryOp(ast.USub(), rest)
            elif side == "left" and isinstance(node.op, ast.Div):
                rest = ast.BinOp(ast.Constant(1.0), ast.Div(), rest)
            tree = _Replace(node, rest).visit(tree)
            yield kind, f"`{ast.unparse(dropped)}` of `{formula}` is left out", _run(tree, values)


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST):
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)
