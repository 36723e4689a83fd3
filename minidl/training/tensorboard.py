"""A log that TensorBoard reads: an event file, a sequence of records that hold protocol buffers.

A record is its length (uint64), the CRC of that, its bytes, the CRC of those; the CRC is CRC-32C, rotated by 15 bits
plus a constant, so that the CRC of bytes that hold CRCs is a good one, too. Of the messages in event.proto and
summary.proto

    Event      1: double wall_time   2: int64 step   3: string file_version   5: Summary   7: SessionLog
    Summary    1: repeated Value { 1: string tag   2: float simple_value }
    SessionLog 1: enum status { START = 1 }

are written. There is a file for each part of a run, as names go by time; it begins with START and a step, from which on
TensorBoard forgets what the files before it hold: so a resumed run is one curve, and a new one replaces the old.
Source: tensorflow/core/lib/io/record_writer.cc, tensorflow/core/util/event.proto. tensorboardX writes such files from a
thread, which may be behind a checkpoint, and gives two parts of a run that begin in one second the same file.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from .log import Log, Record

POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed
FILES = "events.out.tfevents"  # what the names of event files begin with
VARINT, DOUBLE, BYTES, FLOAT = 0, 1, 2, 5  # kinds of fields


class EventLog(Log):
    """A file in the folder with an event for each step, whose numbers have their names in the log as tags."""

    def __init__(self, folder: str | os.PathLike[str], start: int):
        seconds, rest = divmod(time.time_ns(), 10**9)
        name = f"{FILES}.{seconds:010d}.{socket.gethostname()}.{rest:09d}"
        self.file = open(Path(folder, name), "xb")  # noqa: SIM115
        self._event(field(3, BYTES, b"brain.Event:2"))
        self._event(field(2, VARINT, start), field(7, BYTES, field(1, VARINT, 1)))
        self.file.flush()

    def write(self, record: Record) -> None:
        """Add an event with all numbers of the step."""
        values = (
            field(1, BYTES, field(1, BYTES, name.encode()) + field(2, FLOAT, value))
            for name, value in record.items() if name != "step"
        )  # fmt: skip
        self._event(field(2, VARINT, int(record["step"])), field(5, BYTES, b"".join(values)))
        self.file.flush()

    def _event(self, *fields: bytes) -> None:
        self.file.write(framed(field(1, DOUBLE, time.time()) + b"".join(fields)))


def field(number: int, kind: int, value: float | bytes) -> bytes:
    """A field of a protocol buffer: its number and kind, then its value."""
    key = varint(number << 3 | kind)
    if isinstance(value, bytes):
        return key + varint(len(value)) + value
    return key + (varint(int(value)) if kind == VARINT else struct.pack("<d" if kind == DOUBLE else "<f", value))


def varint(value: int) -> bytes:
    """A number of at least 0 in groups of seven bits, the lowest first; the top bit says that there are more."""
    groups = [value >> shift & 127 for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([group | 128 for group in groups[:-1]] + groups[-1:])


def framed(content: bytes) -> bytes:
    """A record."""
    length = struct.pack("<Q", len(content))
    return length + masked_crc(length) + content + masked_crc(content)


def masked_crc(content: Iterable[int]) -> bytes:
    """CRC-32C, in the form that records have."""
    crc, table = 0xFFFFFFFF, crc_table()
    for byte in content:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@cache
def crc_table() -> list[int]:
    """What each byte does to the CRC."""
    table = list(range(256))
    for _ in range(8):
        table = [crc >> 1 ^ POLYNOMIAL * (crc & 1) for crc in table]
    return table
