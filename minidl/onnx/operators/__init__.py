"""ONNX's operators in terms of `minidl.functional`: a table {(name, since which opset): function}, by theme.

    @operator("Softmax", since=13)
    def softmax(x, *, axis=-1):
        return F.softmax(x, axis)

The positional arguments are the node's inputs, None where one is left out; the keywords are its attributes, by ONNX's
names and with ONNX's defaults. So a signature says what is supported, and what a file asks for beyond it is refused
before anything runs.
"""

from . import (  # each fills the table
    activation,
    arithmetic,
    control,
    deform,
    detection,
    gather,
    loss,
    matrix,
    norm,
    quantize,
    recurrent,
    reduce,
    resize,
    shape,
    window,
)
from .table import OPERATORS, Operator, find, operator, refusals
