"""A convolution as a matrix: ``minidl convmatrix xyz --size 4 --stride 2 --padding 1``, its transpose, im2col."""

from __future__ import annotations

from ..terminal import Parser, UsageError, deliver
from . import convmatrix
from .matrix import TOLERANCE


def main(argv: list[str] | None = None) -> int:
    """Print the matrices; 1 if they differ from F.conv and F.conv_transpose, 2 for what cannot be read."""
    parser = Parser(prog="minidl convmatrix", description=__doc__)
    parser.add_argument("kernel", help='letters ("xyz", rows parted by "/": "ab/cd") or numbers ("1,2,1", "1,0/0,-1")')
    parser.add_argument("--size", required=True, metavar="CELLS", help='of the input: "4", or "4x5" for two axes')
    parser.add_argument("--stride", default="1", metavar="N", help='"2", or "2x1"')
    parser.add_argument("--padding", default="0", metavar="N", help='"1", "1x0", "same" or "causal"')
    parser.add_argument("--dilation", default="1", metavar="N", help='"2", or "2x1"')
    parser.add_views()
    options = parser.parse_args(argv)
    try:
        found = convmatrix(
            _kernel(options.kernel), _sizes(options, "size"), stride=_sizes(options, "stride"),
            padding=options.padding if options.padding.isalpha() else _sizes(options, "padding"),
            dilation=_sizes(options, "dilation"),
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(str(error)) from None
    deliver(found, options)
    return 0 if max(found.checks.values()) < TOLERANCE else 1


def _kernel(text: str) -> str | list:
    """Numbers if there is a digit or a comma in it, else letters."""
    if text.replace("/", "").isalpha():
        return text
    try:
        rows = [[float(entry) for entry in row.split(",")] for row in text.split("/")]
    except ValueError:
        raise UsageError(f'the kernel {text!r} is neither letters ("xyz") nor numbers with commas ("1,2,1")') from None
    return rows[0] if len(rows) == 1 else rows


def _sizes(options: object, name: str) -> int | tuple[int, ...]:
    text = getattr(options, name)
    parts = text.split("x")
    if not all(part.isdigit() for part in parts):
        raise UsageError(f'--{name} {text}: a number is needed, or one for each axis such as "2x3"')
    return int(parts[0]) if len(parts) == 1 else tuple(map(int, parts))
