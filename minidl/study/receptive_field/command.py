"""How far a pixel sees: ``minidl receptive-field "c3 p2 c3"``, by formula, exactly and in effect."""

from __future__ import annotations

from ..terminal import Parser, UsageError, deliver
from . import receptive_field, spec


def main(argv: list[str] | None = None) -> int:
    """Print what was found; 2 for a network or a layer that cannot be read."""
    parser = Parser(prog="minidl receptive-field", description=f"{__doc__}\n\nThe network: {spec.__doc__}")
    parser.add_argument("network", help='such as "c3 p2 c3d2"')
    parser.add_argument("--size", type=int, metavar="CELLS", help="cells of the input (what leaves the middle room)")
    parser.add_argument("--layer", metavar="NAME", help='a row of the table, such as "2 p2" (the last)')
    parser.add_argument("--pixel", type=int, metavar="N", help="of that layer's output (the middle one)")
    parser.add_argument("--draws", type=int, help="random draws for the effective field (16, fewer for large networks)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (0)")
    parser.add_views()
    options = parser.parse_args(argv)
    shape = None if options.size is None else (1, 1, options.size)
    try:
        found = receptive_field(
            options.network, shape, layer=options.layer, pixel=options.pixel, draws=options.draws, seed=options.seed
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    deliver(found, options)
    return 0
