"""A trained autoencoder with its tables, and the files that it writes and reads.

    "MDC1"   4 bytes
    CRC-32   4 bytes, of all that follows
    network  8 bytes, the beginning of the SHA-256 of its weights and tables: no other decodes the file
    quality  1 byte; planes 1 byte, 1 for gray or 3; height, width 4 bytes each
    words    of each plane 4 bytes, how many words of 32 bits it has; then the words

Numbers are little-endian. A colour picture is coded as luma, and two differences of colour at half the size.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minidl import Tensor
from minidl import functional as F
from minidl.device import to_device

from .. import tiles
from ..colour import to_rgb, to_ycc
from . import entropy
from .model import SIDE, STEPS, Autoencoder

MAGIC, HEAD = b"MDC1", struct.Struct("<8sBBII")
LARGEST = 1 << 26  # pixels
TILE = 512


class DamagedFile(ValueError):
    """A file that is not as it was written, or of another network. The message is one line."""


@dataclass(frozen=True)
class Codec:
    """The network, and the frequencies of each quality, channel, context and number."""

    net: Autoencoder
    tables: np.ndarray
    device: str = "cpu"

    @property
    def fingerprint(self) -> bytes:
        """What tells this network from others."""
        state = self.net.state_dict()
        content = b"".join([self.tables.astype("<i4").tobytes(), *(state[name].tobytes() for name in sorted(state))])
        return hashlib.sha256(content).digest()[:8]

    # --- pictures

    def compressed(self, picture: np.ndarray, quality: int) -> bytes:
        """The file of a picture (1 or 3, H, W), float32 in [0, 1]; quality from 0, the best."""
        planes = to_planes(picture)
        words = [entropy.encoded(self.latents(plane, quality), self.tables[quality]) for plane in planes]
        body = HEAD.pack(self.fingerprint, quality, len(planes), *picture.shape[1:])
        body += struct.pack(f"<{len(words)}I", *map(len, words)) + b"".join(w.astype("<u4").tobytes() for w in words)
        return MAGIC + struct.pack("<I", zlib.crc32(body)) + body

    def decompressed(self, content: bytes, show: Callable | None = None) -> np.ndarray:
        """The picture of a file, uint8 (1 or 3, H, W). Raises DamagedFile."""
        if content[:4] != MAGIC:
            raise DamagedFile("not a compressed picture: it does not begin with MDC1")
        if len(content) < 8 + HEAD.size or zlib.crc32(content[8:]) != struct.unpack("<I", content[4:8])[0]:
            raise DamagedFile("the file is damaged: its checksum is another one; copy it anew")
        made_by, quality, count, height, width = HEAD.unpack_from(content, 8)
        if made_by != self.fingerprint:
            mine = self.fingerprint.hex()
            raise DamagedFile(f"the file was made by network {made_by.hex()}, this is {mine}: name its --checkpoint")
        if quality >= len(STEPS) or count not in (1, 3) or not 0 < height * width <= LARGEST:
            raise DamagedFile(f"no picture: quality {quality}, {count} planes of {width}x{height}")
        at = 8 + HEAD.size
        lengths = struct.unpack_from(f"<{count}I", content, at)
        if (size := at + 4 * (count + sum(lengths))) != len(content):
            raise DamagedFile(f"the file has {len(content)} bytes, by its own account {size}")
        words = np.split(np.frombuffer(content, "<u4", offset=at + 4 * count), np.cumsum(lengths)[:-1])
        planes = []
        for number, each in enumerate(words):
            size = half((height, width)) if number else (height, width)
            planes.append(self.plane(each.astype(np.uint32), quality, size, show))
        picture = from_planes(planes)
        return np.rint(picture.clip(0, 1) * 255).astype(np.uint8)

    # --- planes

    def latents(self, plane: np.ndarray, quality: int) -> np.ndarray:
        """The whole latents (C, h, w) of a plane (H, W)."""
        x = np.pad(plane, [(0, -n % SIDE) for n in plane.shape], mode="edge")[None, None]
        with self.net.inference():
            latents = self.net.encode(Tensor(to_device(x, self.device)), np.float32(STEPS[quality]))
        return np.rint(latents.to("cpu").numpy()[0]).astype(np.int64)

    def plane(
        self, words: np.ndarray, quality: int, size: tuple[int, int], show: Callable | None = None
    ) -> np.ndarray:
        """The plane (H, W) of the words of its latents."""
        latents = entropy.decoded(words, self.tables[quality], tuple(-(-n // SIDE) for n in size))
        return self.reconstructed(latents, quality, size, show)

    def reconstructed(
        self, latents: np.ndarray, quality: int, size: tuple[int, int], show: Callable | None = None
    ) -> np.ndarray:
        """The plane (H, W) of whole latents (C, h, w); the filter works tile by tile."""
        step = np.float32(STEPS[quality])
        with self.net.inference():
            whole = self.net.expand(Tensor(to_device(latents[None].astype(np.float32), self.device)), step)
        filtered = tiles.predict(
            Stepped(self.net.filter, step), whole.to("cpu").numpy()[0], tile=TILE, device=self.device, show=show
        )
        return filtered[0, : size[0], : size[1]]


class Stepped:
    """The filter for one step, as `tiles.predict` takes a network."""

    def __init__(self, net, step: np.float32):
        self.net, self.step = net, step
        self.padded, self.period, self.radius, self.inference = True, net.period, net.radius, net.inference

    def __call__(self, x: Tensor) -> Tensor:
        return self.net(x, self.step)


def half(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the planes of colour."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def to_planes(picture: np.ndarray) -> list[np.ndarray]:
    """The planes (H, W) that a picture (1 or 3, H, W) is coded as, each around 1/2."""
    if len(picture) == 1:
        return [picture[0].astype(np.float32)]
    luma, *colours = to_ycc(picture)
    planes = [luma]
    for colour in colours:
        even = np.pad(colour, [(0, n % 2) for n in colour.shape], mode="edge")
        planes.append((even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4 + 0.5)
    return planes


def from_planes(planes: list[np.ndarray]) -> np.ndarray:
    """The picture (1 or 3, H, W) of its planes; colours are interpolated linearly."""
    if len(planes) == 1:
        return planes[0][None]
    luma, *colours = planes
    doubled = F.interpolate(Tensor(np.stack(colours)[None] - np.float32(0.5)), scale_factor=2, mode="bilinear")
    height, width = luma.shape
    ycc = np.concatenate([luma[None], doubled.numpy()[0, :, :height, :width]])
    return to_rgb(ycc)
