"""What kernels ask of a window: parts of it, and the same sum read from its other side."""

from __future__ import annotations

from functools import lru_cache

from ..ops.window import Slices, Window


def is_pointwise(window: Window) -> bool:
    """One tap that meets every cell: the input is its own columns."""
    return window.taps == 1 and window.output == window.size and not any(map(any, window.padding))


@lru_cache(maxsize=1024)
def mirrored_window(window: Window) -> Window:
    """With stride 1: the window in which input and output, first and last tap, change places.

    From ``i = o + d k - low`` follows ``o = i + d (K - 1 - k) - (d (K - 1) - low)``.
    """
    axes = zip(window.size, window.output, window.span, window.padding)
    padding = tuple((span - 1 - low, n - out + low) for n, out, span, (low, _) in axes)
    return Window(window.output, window.kernel, window.stride, window.dilation, padding)


def row_range(window: Window, start: int, stop: int) -> Window:
    """The same window, only at positions start <= o < stop of the first axis."""
    low = window.padding[0][0] - window.stride[0] * start
    high = window.stride[0] * (stop - start - 1) + window.span[0] - window.size[0] - low
    return Window(window.size, window.kernel, window.stride, window.dilation, ((low, high), *window.padding[1:]))


@lru_cache(maxsize=1024)
def live_taps(window: Window) -> tuple[Slices, Window]:
    """(slices of the kernel, window of those taps): what is left without the outer taps that meet padding only.

    This window itself if they all meet the input; one tap stays if none does.
    """
    ranges = []
    for axis in range(window.rank):
        taps = [k for k, _, _ in window.axis_shifts(axis)] or [0]
        ranges.append(slice(taps[0], taps[-1] + 1))
    if all(r == slice(0, k) for r, k in zip(ranges, window.kernel)):
        return tuple(ranges), window
    axes = zip(ranges, window.kernel, window.dilation, window.padding)
    padding = tuple((low - d * r.start, high - d * (k - r.stop)) for r, k, d, (low, high) in axes)
    kernel = tuple(r.stop - r.start for r in ranges)
    return tuple(ranges), Window(window.size, kernel, window.stride, window.dilation, padding)
