"""Formulas as MathML, which browsers lay out without a library and screen readers read aloud."""

from __future__ import annotations

import ast
from html import escape

NAMES = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "eps": "ε", "epsilon": "ε", "eta": "η", "lam": "λ",
    "mu": "μ", "pi": "π", "phi": "φ", "sigma": "σ", "tau": "τ", "theta": "θ", "inf": "∞",
}  # fmt: skip
OPERATORS: dict[type, str] = {
    ast.Add: "+", ast.Sub: "−", ast.Mult: "·", ast.MatMult: "@", ast.USub: "−", ast.UAdd: "+", ast.Mod: "mod",
    ast.Eq: "=", ast.NotEq: "≠", ast.Lt: "<", ast.LtE: "≤", ast.Gt: ">", ast.GtE: "≥", ast.FloorDiv: "div",
    ast.And: "and", ast.Or: "or", ast.Not: "not", ast.BitAnd: "and", ast.BitOr: "or", ast.Invert: "not",
}  # fmt: skip
RANK: dict[type, int] = {
    ast.IfExp: 0, ast.Or: 1, ast.And: 2, ast.Not: 3, ast.Compare: 4, ast.BitOr: 5, ast.BitAnd: 6, ast.Add: 7,
    ast.Sub: 7, ast.Mult: 8, ast.Mod: 8, ast.FloorDiv: 8, ast.MatMult: 8, ast.USub: 9, ast.UAdd: 9,
    ast.Invert: 9, ast.Pow: 10,
}  # fmt: skip
ATOM = 11  # what never needs brackets


def mathml(formula: str, *, block: bool = False) -> str:
    """A formula that is written as a Python expression, as MathML; what is no expression, as code.

    ``sqrt(x)`` gets its root, ``a / b`` its bar, ``x**2`` its exponent, ``abs(x)`` its strokes, ``x[i, j]`` its
    indices, Greek names their letters; ``y = x`` may be an equation.
    """
    try:
        sides = [ast.parse(side.strip(), mode="eval").body for side in _sides(formula)]
        content = "<mo>=</mo>".join(_of(side) for side in sides)
    except (SyntaxError, ValueError, KeyError):
        return f"<code>{escape(formula)}</code>"
    display = ' display="block"' if block else ""
    return f'<math{display} aria-label="{escape(formula)}"><mrow>{content}</mrow></math>'


def _sides(formula: str) -> list[str]:
    """The sides of equations: at "=" that stand alone, outside brackets."""
    depth, start, sides = 0, 0, []
    for i, c in enumerate(formula):
        depth += (c in "([") - (c in ")]")
        if c == "=" and depth == 0 and formula[i + 1 : i + 2] != "=" and formula[i - 1 : i] not in ("=", "<", ">", "!"):
            sides.append(formula[start:i])
            start = i + 1
    return [*sides, formula[start:]]


def _of(node: ast.expr) -> str:
    """The MathML of an expression. Raises KeyError or ValueError for what has none."""
    match node:
        case ast.Constant(value=bool() | None):
            return f"<mi>{node.value}</mi>"
        case ast.Constant(value=int() | float() | complex()):
            return f"<mn>{escape(str(node.value))}</mn>"
        case ast.Name():
            return _name(node.id)
        case ast.Attribute(attr="T"):
            return f"<msup>{_bracketed(node.value, ATOM)}<mi>T</mi></msup>"
        case ast.Attribute():
            return f"<mi>{escape(ast.unparse(node))}</mi>"
        case ast.UnaryOp():
            return f'<mo form="prefix">{OPERATORS[type(node.op)]}</mo>{_bracketed(node.operand, _rank(node))}'
        case ast.BinOp(op=ast.Div()):
            return f"<mfrac><mrow>{_of(node.left)}</mrow><mrow>{_of(node.right)}</mrow></mfrac>"
        case ast.BinOp(op=ast.Pow()):
            return f"<msup><mrow>{_bracketed(node.left, ATOM)}</mrow><mrow>{_of(node.right)}</mrow></msup>"
        case ast.BinOp():
            rank = _rank(node)
            signed = isinstance(node.right, ast.UnaryOp)  # 2 · (−1), not 2 · −1
            left, right = _bracketed(node.left, rank), _bracketed(node.right, ATOM if signed else rank + 1)
            return f"{left}<mo>{OPERATORS[type(node.op)]}</mo>{right}"
        case ast.BoolOp():
            between = f"<mo>{OPERATORS[type(node.op)]}</mo>"
            return between.join(_bracketed(value, _rank(node)) for value in node.values)
        case ast.Compare():
            parts = [_bracketed(node.left, 5)]
            for op, side in zip(node.ops, node.comparators):
                parts.append(f"<mo>{escape(OPERATORS[type(op)])}</mo>{_bracketed(side, 5)}")
            return "".join(parts)
        case ast.IfExp():
            condition = f"<mtext>&#160;if&#160;</mtext>{_of(node.test)}<mtext>&#160;else&#160;</mtext>"
            return f"{_of(node.body)}{condition}{_of(node.orelse)}"
        case ast.Subscript():
            return f"<msub><mrow>{_bracketed(node.value, ATOM)}</mrow><mrow>{_listed(node.slice)}</mrow></msub>"
        case ast.Tuple() | ast.List():
            return f"<mo>(</mo>{'<mo>,</mo>'.join(_of(entry) for entry in node.elts)}<mo>)</mo>"
        case ast.Call(func=ast.Name(id="sqrt"), args=[x]):
            return f"<msqrt><mrow>{_of(x)}</mrow></msqrt>"
        case ast.Call(func=ast.Name(id="abs"), args=[x]):
            return f"<mo>|</mo>{_of(x)}<mo>|</mo>"
        case ast.Call(func=ast.Name(id="exp"), args=[x]):
            return f"<msup><mi>e</mi><mrow>{_of(x)}</mrow></msup>"
        case ast.Call():
            parts = [_of(x) for x in node.args]
            parts += [f"<mi>{escape(str(k.arg))}</mi><mo>=</mo>{_of(k.value)}" for k in node.keywords]
            return f"{_function(node.func)}<mo>(</mo>{'<mo>,</mo>'.join(parts)}<mo>)</mo>"
    raise ValueError(f"no MathML for {type(node).__name__}")


def _listed(indices: ast.expr) -> str:
    entries = indices.elts if isinstance(indices, ast.Tuple) else [indices]
    return "<mo>,</mo>".join(_of(entry) for entry in entries)


def _name(name: str) -> str:
    stem, _, index = name.partition("_")
    letter = f"<mi>{escape(NAMES.get(stem, stem))}</mi>"
    return f"<msub>{letter}<mi>{escape(NAMES.get(index, index))}</mi></msub>" if stem and index else letter


def _function(node: ast.expr) -> str:
    """What is called: a name such as conv_transpose is one word, f_1 has an index."""
    word = isinstance(node, ast.Name) and len(node.id.partition("_")[2]) > 2
    return f"<mi>{escape(node.id)}</mi>" if word else _of(node)


def _rank(node: ast.expr) -> int:
    match node:
        case ast.BinOp(op=ast.Div() | ast.Pow()):
            return 9 if isinstance(node.op, ast.Div) else 10
        case ast.BinOp() | ast.UnaryOp() | ast.BoolOp():
            return RANK[type(node.op)]
        case ast.Compare() | ast.IfExp():
            return RANK[type(node)]
    return ATOM


def _bracketed(node: ast.expr, rank: int) -> str:
    """The expression, in brackets if it binds less than `rank`."""
    return _of(node) if _rank(node) >= rank else f"<mo>(</mo>{_of(node)}<mo>)</mo>"
