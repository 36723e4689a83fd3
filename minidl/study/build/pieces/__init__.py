"""The pieces of the engine, in the order in which they are best written."""

from __future__ import annotations

from ..piece import Piece
from .graph import BROADCASTING, TENSOR, VALUE
from .layers import BATCH_NORM, CROSS_ENTROPY, MATMUL, SOFT_DICE
from .updates import ADAM, SGD
from .windows import CONV, CONV_INPUT, CONV_TRANSPOSE, CONV_WEIGHT, POOLING

PIECES: dict[str, Piece] = {
    piece.name: piece
    for piece in (
        VALUE, TENSOR, BROADCASTING, MATMUL, CONV, CONV_INPUT, CONV_WEIGHT, CONV_TRANSPOSE, POOLING, BATCH_NORM,
        SGD, ADAM, CROSS_ENTROPY, SOFT_DICE,
    )
}  # fmt: skip
