"""Pickles, read as the little programs they are, by a machine that cannot run anything.

A pickle is a list of instructions for a stack machine, and some of them call any function of any module: to
unpickle a file is to run a program of its author. This machine knows the instructions that build numbers,
strings, lists and dicts, and looks functions up in one table of plain records (`records.GLOBALS`). Whatever else a
file asks for becomes an `Opaque`: its name, and nothing more. Python's own `pickletools` cuts the bytes into
instructions.

`load` gives what the pickle describes, with every torch tensor as a `TensorRecord`, every NumPy array as an
`ArrayRecord`.
"""

from __future__ import annotations

import pickletools
from typing import Any, BinaryIO

from ..reading import WeightsError
from .records import InlineArray, Opaque, StorageRecord, call, find, pairs, set_state, storage

INSTRUCTIONS_LIMIT = 10_000_000
LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8",
    "INT", "LONG", "FLOAT", "STRING", "UNICODE",
}  # fmt: skip
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


def load(file: BinaryIO, storages: dict[str, StorageRecord] | None = None) -> Any:
    """Read one pickle from `file`, up to its end mark; the file stays there. `storages` collects those it refers to."""
    stack: list = []
    marks: list[list] = []
    memo: dict[int, Any] = {}
    for position, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if position > INSTRUCTIONS_LIMIT:
            raise WeightsError(f"the pickle has more than {INSTRUCTIONS_LIMIT} instructions")
        name = opcode.name
        if name in LITERALS:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name == "MARK":
            marks.append(stack)
            stack = []
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE", "PUT"):
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            stack = marks.pop()
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            n = int(name[-1])
            stack[-n:] = [tuple(stack[-n:])]
        elif name in ("TUPLE", "LIST", "DICT", "FROZENSET"):
            items, stack = stack, marks.pop()
            stack.append({"TUPLE": tuple, "LIST": list, "DICT": pairs, "FROZENSET": _set}[name](items))
        elif name in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"):
            stack.append({"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": _set}[name]())
        elif name in ("APPENDS", "SETITEMS", "ADDITEMS"):
            items, stack = stack, marks.pop()
            _fill(stack[-1], items)
        elif name in ("APPEND", "SETITEM"):
            n = 1 if name == "APPEND" else 2
            items = stack[-n:]
            del stack[-n:]
            _fill(stack[-1], items)
        elif name == "GLOBAL":
            stack.append(find(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(find(module, attribute))
        elif name in ("REDUCE", "NEWOBJ", "NEWOBJ_EX"):
            options = stack.pop() if name == "NEWOBJ_EX" else {}
            arguments = stack.pop()
            stack.append(call(stack.pop(), arguments, options))
        elif name == "BUILD":
            set_state(state=stack.pop(), target=stack[-1])
            if isinstance(stack[-1], InlineArray):
                stack[-1].read(file)
        elif name == "BINPERSID":
            record = storage(*stack.pop())
            known = storages is not None and isinstance(record, StorageRecord)
            if known and storages.setdefault(record.key, record) != record:
                raise WeightsError(f"storage {record.key!r} is declared twice, differently")
            stack.append(record)
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise WeightsError(f"the pickle uses the instruction {name}, which no file of tensors needs")
    raise WeightsError("the pickle has no end")


def _set(items: Any = ()) -> Opaque:
    """A set: no tensor is among its members."""
    return Opaque("builtins.set", members=items)


def _fill(target: Any, items: list) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif isinstance(target, dict):
        target.update(pairs(items))
    elif isinstance(target, Opaque):
        target.members.extend(items)
    else:
        raise WeightsError(f"the pickle fills a {type(target).__name__}")
