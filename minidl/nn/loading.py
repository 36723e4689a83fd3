"""What a module makes of a loaded state: values into arrays, and what does not fit in few words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..core.tensor import Tensor, as_array

WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")  # torch puts these in names
ROWS = 18  # of a table of differences, which has two lines more


def plain_array(path: str, value: Any) -> Any:
    """An array out of a loaded value: a Tensor, a torch tensor, or anything NumPy reads. `path` is for errors."""
    if isinstance(value, Tensor) or not hasattr(value, "detach"):
        return as_array(value)
    try:
        value = value.detach().cpu().resolve_conj().resolve_neg()
        narrow = str(value.dtype).startswith(("torch.bfloat16", "torch.float8"))  # which NumPy has no name for
        return (value.float() if narrow else value).numpy()
    except (TypeError, RuntimeError) as error:  # sparse, quantised, meta
        raise TypeError(
            f"load_state_dict: {path} is a torch tensor without plain numbers ({str(error).splitlines()[0]}); "
            "to_dense() makes them of a sparse one, dequantize() of a quantised one"
        ) from None


def nestings(names: Iterable[str], wanted: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    """The ways (key, strip) of `md.load_weights` by which all the `wanted` are among the names of a state."""
    names = set(names)
    for strip in (None, *WRAPPERS):
        short = {".".join(part for part in name.split(".") if part != strip) for name in names}
        if strip and (short == names or len(short) < len(names)):
            continue  # it is in none of the names, or is needed to tell them apart
        keys = [name[: -len(wanted[0]) - 1] for name in short if name.endswith(f".{wanted[0]}")]
        keys = [key for key in sorted(keys) if all(f"{key}.{name}" in short for name in wanted)]
        whole: list[str | None] = [None] if strip and all(name in short for name in wanted) else []
        if keys or whole:
            yield from ((key, strip) for key in whole or keys)
            return


def misfit(kind: str, state: Mapping[str, Any], wanted: Sequence[str], rows: list[tuple[str, str, Any]]) -> str:
    """What a state and a module of this kind differ in: the way out in one line if there is one, else a table.

    rows: (missing, unexpected or mis-shaped; the path; its shape).
    """
    start = f"the state does not fit {kind}"
    lacking = bool(wanted) and any(problem == "missing" for problem, _, _ in rows)
    if lacking and (ways := list(nestings(_names(state), wanted))):
        found = " and ".join(f"under {key!r}" if key else f"with {strip!r} in them" for key, strip in ways[:5])
        options = ", ".join(f"{name}={value!r}" for name, value in zip(("key", "strip"), ways[0]) if value)
        return f"{start}: its names are {found}; md.load_weights(path, {options}) leaves that out"
    return f"{start}:\n{_table(rows)}"


def _names(state: Mapping[str, Any]) -> Iterator[str]:
    """The names in a state, those of a mapping in it after its own and a dot."""
    for name, value in state.items():
        yield from (f"{name}.{inner}" for inner in _names(value)) if isinstance(value, Mapping) else [str(name)]


def _table(rows: list[tuple[str, str, Any]]) -> str:
    """A row for each difference; of many, as many of each problem, and how many are left out."""
    problems = dict.fromkeys(problem for problem, _, _ in rows)
    shown = rows
    if len(rows) > ROWS:
        of_each = {problem: [row for row in rows if row[0] == problem] for problem in problems}
        shown = [row for same in of_each.values() for row in same[: ROWS // len(problems)]]
    width = max(len(path) for _, path, _ in shown)
    lines = [f"  {problem:<10}  {path:<{width}}  {note}" for problem, path, note in shown]
    left = {problem: sum(r[0] == problem for r in rows) - sum(r[0] == problem for r in shown) for problem in problems}
    more = ", ".join(f"{n} {problem}" for problem, n in left.items() if n)
    return "\n".join([*lines, *([f"  and {more} more"] if more else [])])
