"""Everyday PyTorch, run in a namespace that is torch's: the real one or minidl.torch. ``idioms.txt`` has the lines.

With torch installed, ``python -m tests.torch_layer.idioms`` renews ``expected.json``: what torch itself gives.
"""

from __future__ import annotations

import ast
import importlib
import json
import math
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
LIMIT = 12  # entries: of a larger array a digest is stored


def sections() -> dict[str, list[str]]:
    """The lines of each section."""
    found: dict[str, list[str]] = {}
    for line in (HERE / "idioms.txt").read_text().splitlines():
        if line.startswith("# --- "):
            lines = found.setdefault(line[6:], [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return found


def wave(shape: tuple, start: float = 0.0) -> np.ndarray:
    """Numbers without a pattern that would hide a wrong order."""
    n = math.prod(shape)
    return np.sin(start + 1.7 * np.arange(1, n + 1) ** 1.1).astype(np.float32).reshape(shape)


@cache
def environment(package: str) -> dict[str, Any]:
    """The names that idioms use; `package` is "torch" or "minidl.torch"."""
    torch = importlib.import_module(package)
    for part in ("nn.functional", "nn.utils", "optim.lr_scheduler", "utils.data", "utils.checkpoint"):
        importlib.import_module(f"{package}.{part}")
    nn, optim = torch.nn, torch.optim

    def load(module: Any) -> Any:
        for i, (_, p) in enumerate(module.named_parameters()):
            p.data.copy_(torch.from_numpy(wave(tuple(p.shape), i)))
        return module

    def train(make: Any) -> list:
        net = load(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)))
        optimiser = make(net.parameters())
        x, losses = torch.from_numpy(wave((8, 3))), []
        for _ in range(5):
            optimiser.zero_grad()
            loss = ((net(x) - x[:, :1]) ** 2).mean()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        return losses

    def lrs(make: Any) -> list[float]:
        optimiser = optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0, momentum=0.9)
        schedule, found = make(optimiser), []
        for _ in range(12):
            found.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            schedule.step()
        return found

    names = {"x": (2, 3), "y": (2, 3), "v": (4,), "m": (3, 4), "n": (3, 3), "img": (2, 3, 8, 8), "seq": (2, 5, 6)}
    tensors = {name: torch.from_numpy(wave(shape, i)) for i, (name, shape) in enumerate(names.items())}
    return {
        "torch": torch, "nn": nn, "F": nn.functional, "optim": optim, "np": np, "load": load, "train": train,
        "lrs": lrs, **tensors, "ids": torch.tensor([[1, 0, 2], [2, 1, 1]]),
        "b": torch.tensor([[True, False, True], [False] * 3]),
    }  # fmt: skip


def run(package: str, line: str) -> Any:
    """The value of an idiom: of its last expression, or of the name assigned last."""
    env = dict(environment(package))
    tree = ast.parse(line.replace("\\n", "\n"))
    *first, last = tree.body
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(last, ast.Expr):
            exec(compile(ast.Module(first, []), "<idiom>", "exec"), env)
            return plain(eval(compile(ast.Expression(last.value), "<idiom>", "eval"), env))
        exec(compile(tree, "<idiom>", "exec"), env)
    names = [node.id for node in ast.walk(last) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    return plain(env[names[-1]]) if names else None


def plain(value: Any) -> Any:
    """Tensors as (dtype, requires_grad, array); other things of torch's as text."""
    if hasattr(value, "requires_grad"):
        return (str(value.dtype), value.requires_grad, value.detach().numpy())
    if isinstance(value, np.ndarray | np.generic):
        return (str(value.dtype), False, np.asarray(value))
    if isinstance(value, dict):
        return {str(name): plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple) or type(value).__name__ == "Size":
        return [plain(v) for v in value]
    return value if isinstance(value, bool | int | float | str | type(None)) else str(value)


def stored(value: Any) -> Any:
    """A plain value as JSON holds it: a large array as its shape and three sums."""
    if isinstance(value, tuple):
        kind, grad, array = value
        flat = np.nan_to_num(array.astype(np.float64).reshape(-1), nan=-99.0, posinf=1e9, neginf=-1e9)
        if len(flat) > LIMIT:
            weights = wave((len(flat),), 5.0).astype(np.float64)
            flat = np.array([flat.sum(), flat @ weights, np.abs(flat).sum()])
        return [kind, grad, list(array.shape), [float(f"{n:.6g}") for n in flat]]
    if isinstance(value, list):
        return [stored(v) for v in value]
    if isinstance(value, dict):
        return {name: stored(v) for name, v in value.items()}
    return value


def same(a: Any, b: Any, tolerance: float = 2e-5) -> bool:
    """Two stored values, the numbers in them within a tolerance."""
    if isinstance(a, bool | str | type(None)) or isinstance(b, bool | str | type(None)):
        return a == b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=tolerance * 10, abs_tol=tolerance * 10)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k], tolerance) for k in a)
    if not (isinstance(a, list) and isinstance(b, list)):
        return False
    return len(a) == len(b) and all(same(p, q, tolerance) for p, q in zip(a, b))


if __name__ == "__main__":
    every = {line: stored(run("torch", line)) for lines in sections().values() for line in lines}
    (HERE / "expected.json").write_text(
        "{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in every.items()) + "\n}\n"
    )
