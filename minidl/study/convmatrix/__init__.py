"""A convolution as a matrix, with letters or numbers."""

from .matrix import ConvMatrix, convmatrix

__all__ = ["ConvMatrix", "convmatrix"]
