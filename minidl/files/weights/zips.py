"""Members of a zip file: those that are stored as they are, as almost all of weights, are not copied."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable

from ..reading import WeightsError
from ..source import Source

SIGNATURE, UTF8, ENCRYPTED = b"PK\x03\x04", 0x800, 1  # of the header before a member; its flags
LOCAL_HEADER = 30  # bytes before the name; the lengths of name and extra field are its last four


class Archive:
    """A zip file over a `Source`. Raises WeightsError if its members unfold into more than the budget."""

    def __init__(self, source: Source):
        self.data = source.data
        self.zip = zipfile.ZipFile(source.file())
        self.members = {info.filename: info for info in self.zip.infolist()}
        if len(self.members) < len(self.zip.infolist()):
            raise WeightsError("the zip file has two members of the same name")
        for info in self.zip.infolist():  # a zip bomb, by the sizes that its directory declares
            source.budget.spend(info.file_size, f"member {info.filename!r}")
        self.summed = any(info.CRC for info in self.members.values())
        if not self.summed:  # torch.serialization.set_crc32_options(False)
            for info in self.zip.infolist():
                info.CRC = None  # nothing to compare with

    def head(self, name: str, size: int) -> bytes:
        """The first bytes of one member."""
        with self.zip.open(self.members[name]) as file:
            return file.read(size)

    def read(self, name: str) -> memoryview:
        """The bytes of one member."""
        return self.later(name)()

    def later(self, name: str) -> Callable[[], memoryview]:
        """A function that gives the bytes of one member, checked the first time."""
        info = self.members[name]
        if info.compress_type != zipfile.ZIP_STORED:
            return lambda: self._unpacked(info)
        at = info.header_offset + LOCAL_HEADER
        lengths = [int.from_bytes(self.data[at - size : at - size + 2], "little") for size in (4, 2)]
        own = bytes(self.data[at : at + lengths[0]]).decode("utf-8" if info.flag_bits & UTF8 else "cp437")
        if bytes(self.data[at - LOCAL_HEADER :][:4]) != SIGNATURE or own != info.orig_filename:
            raise WeightsError(f"member {name!r} has another header before its bytes than in the directory: damaged")
        if info.flag_bits & ENCRYPTED:
            raise WeightsError(f"member {name!r} is encrypted")
        at += sum(lengths)
        stored = self.data[at : at + info.file_size]
        if info.compress_size != info.file_size or len(stored) != info.file_size:
            raise WeightsError(f"member {name!r} is cut short: {len(stored)} of {info.file_size} bytes")
        checked = []

        def checked_bytes() -> memoryview:
            if not checked and self.summed and zlib.crc32(stored) != info.CRC:
                raise WeightsError(f"Bad CRC-32 for member {name!r}: truncated or damaged")
            checked.append(True)
            return stored

        return checked_bytes

    def _unpacked(self, info: zipfile.ZipInfo) -> memoryview:
        data = self.zip.read(info)
        if len(data) != info.file_size:
            raise WeightsError(f"member {info.filename!r} is cut short: {len(data)} of {info.file_size} bytes")
        return memoryview(data)
