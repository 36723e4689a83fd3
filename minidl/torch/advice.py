"""What errors advise."""

from __future__ import annotations

LEAF = (
    "a leaf Variable that requires grad is being used in {}: write `with torch.no_grad():` around it, or change "
    "x.data; to go on differentiating, make a new tensor, as in y = x + 1"
)
IN_GRAPH = (
    "{} would change numbers that a graph holds for its backward pass; change a copy, x = x.detach().clone(), or make "
    "a new tensor"
)


def unknown(path: str, name: str) -> str:
    """Nothing is called so: what to write in its place."""
    return f"{path} is not in minidl.torch"
