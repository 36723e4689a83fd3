"""TrackNet: from a clip to tubes of objects, in two stages.

    frames -> a view that is alike (optional) -> a stream of 2-D maps and one of 3-D maps, (N, C, T, h, w)
           -> the far maps of all frames at once -> objectness and offsets of anchor tubes -> proposals
           -> each proposal's part of the near maps, frame by frame -> its class, and finer offsets

After Li et al., "TrackNet: Simultaneous object detection and tracking and its application in traffic video analysis",
arXiv 1902.01466; sizes and rates are our own, as the paper gives none. 3-D convolutions as in Tran et al., "Learning
spatiotemporal features with 3D convolutional networks", ICCV 2015.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor, nn
from minidl import functional as F

from .scenes import CLASSES, HEIGHT, WIDTH
from .tubes import anchors

STREAMS = {"2d": "2-D", "3d": "3-D", "both": "2-D and 3-D"}
VIEWS = {"none": "as it is", "given": "vanishing point known", "learned": "learnt"}
NEAR, STRIDE = 4, 8  # pixels from place to place of the near maps and of the far ones
SIZES = (10.0, 16.0, 26.0)  # of anchors, in pixels
BINS = 5  # a proposal's maps have so many by as many
TERMS = 3  # of the course of an offset over time: where, how fast, how that changes
CENTRE = (0.0, -0.9)  # where the vanishing point is brought, in [-1, 1]


class Maps(NamedTuple):
    """What the first stage gives: of each anchor a logit (N, A) and offsets (N, A, T, 4); each frame's near
    maps (N, T, C, h, w); how each clip's view was moved, in pixels (N, 2)."""

    logits: Tensor
    offsets: Tensor
    frames: Tensor
    moved: Tensor


class TrackNet(nn.Module):
    """Clips (N, 1, T, H, W) of `frames` frames; see the module. `streams`: "2d", "3d" or "both"; `view`: "none",
    "given" (clips come with their vanishing points) or "learned" (a small network moves the view)."""

    def __init__(self, frames: int, streams: str = "both", view: str = "none", width: int = 12, *, rng: Any = None):
        rng = nn.init.generator(rng)
        self.frames, self.streams, self.view = frames, streams, view
        self.flat = Stream(width, 1, rng) if streams in ("2d", "both") else None
        self.deep = Stream(width, 3, rng) if streams in ("3d", "both") else None
        self.look = Look(rng) if view == "learned" else None
        near, far = (times * width * (2 if streams == "both" else 1) for times in (2, 4))
        self.hidden = nn.Conv2d(far * frames, 8 * width, 3, padding=1, rng=rng)
        self.objectness = nn.Conv2d(8 * width, len(SIZES), 1, rng=rng)
        self.terms = course(frames)
        count = self.terms.shape[1]
        self.motion = nn.Conv2d(8 * width, len(SIZES) * count * 4, 1, rng=rng)
        self.inner = nn.Linear(near * BINS**2, 8 * width, rng=rng)  # of each frame
        self.again = nn.Linear(8 * width, 8 * width, rng=rng)
        self.classes = nn.Linear(8 * width, len(CLASSES) + 1, rng=rng)  # the last is none
        self.refine = nn.Linear(8 * width, 4, rng=rng)  # of each frame
        self.fitted = (self.terms @ np.linalg.pinv(self.terms)).astype(np.float32)  # (T, T), by least squares
        for layer in (self.motion, self.refine):  # tubes begin as their anchors and proposals
            layer.weight.data = nn.init.normal(layer.weight.shape, rng, std=1e-3)

    @property
    def anchors(self) -> np.ndarray:
        """The anchor tubes (A, T, 4)."""
        return anchors((HEIGHT // STRIDE, WIDTH // STRIDE), STRIDE, SIZES, self.frames)

    def forward(self, clips: Tensor, vanishing: Any = None) -> Maps:
        """The first stage. vanishing: (N, 2) in pixels, for the view "given"."""
        clips, moved = self.seen(clips, vanishing)
        streams = [stream(clips) for stream in (self.flat, self.deep) if stream is not None]
        near, far = (F.concat(maps, axis=1) if len(maps) > 1 else maps[0] for maps in zip(*streams))
        near, far = (maps.transpose(0, 2, 1, 3, 4) for maps in (near, far))  # (N, C, T, h, w) -> (N, T, C, h, w)
        n, t, c, h, w = far.shape
        hidden = F.relu(self.hidden(far.reshape(n, t * c, h, w)))
        logits = self.objectness(hidden).transpose(0, 2, 3, 1).reshape(n, -1)  # (N, sizes, h, w) -> (N, h w sizes)
        motion = self.motion(hidden).reshape(n, len(SIZES), -1, 4, h, w)
        motion = motion.transpose(0, 4, 5, 1, 2, 3).reshape(n, logits.shape[1], -1, 4)  # -> (N, h w sizes, terms, 4)
        return Maps(logits, Tensor(self.terms) @ motion, near, moved)

    def second(self, frames: Tensor, clip: np.ndarray, tubes: np.ndarray) -> tuple[Tensor, Tensor]:
        """Of tubes (K, T, 4) in the clips of these numbers (K,): logits (K, classes + 1) and offsets (K, T, 4).

        Each frame is looked at by the same layers; the class comes from their mean over the frames, the offsets are the
        course that is nearest to what the frames say, so that frames in which the object is seen speak for the others.
        """
        n, t, c, h, w = frames.shape
        image = (clip[:, None] * t + np.arange(t)).reshape(-1, 1)  # the frame of each box
        regions = np.concatenate([image, tubes.reshape(-1, 4)], axis=1).astype(np.float32)
        x = F.roi_align(
            frames.reshape(n * t, c, h, w), regions, BINS, spatial_scale=1 / NEAR, sampling_ratio=2, aligned=True
        )
        x = F.relu(self.again(F.relu(self.inner(x.reshape(len(regions), -1))))).reshape(len(tubes), t, -1)
        return self.classes(x.mean(axis=1)), Tensor(self.fitted) @ self.refine(x)

    def seen(self, clips: Tensor, vanishing: Any) -> tuple[Tensor, Tensor]:
        """The clips with their views moved so that they are alike, and by how much, in pixels (N, 2)."""
        n = clips.shape[0]
        if self.view == "none":
            return clips, Tensor(np.zeros((n, 2), np.float32))
        if self.view == "learned":
            shift = self.look(clips[:, :, 0])
        else:
            if vanishing is None:
                raise ValueError('a TrackNet with view="given" needs the vanishing points of its clips, (N, 2)')
            at = np.asarray(vanishing, np.float32) / np.float32([WIDTH / 2, HEIGHT / 2]) - 1  # in [-1, 1]
            shift = Tensor((at - np.float32(CENTRE)).astype(np.float32))
        return shifted(clips, shift), shift * Tensor(np.float32([WIDTH / 2, HEIGHT / 2]))


def course(frames: int) -> np.ndarray:
    """The powers of time, from -1 at the first frame to 1 at the last, that offsets are sums of: (T, terms). Corners of
    what drives evenly change so, nearly; and few terms are learnt sooner than a number for each frame."""
    time = np.linspace(-1, 1, frames, dtype=np.float32) if frames > 1 else np.zeros(1, np.float32)
    return np.vander(time, min(TERMS, frames), increasing=True)


class Stream(nn.Module):
    """Clips (N, 1, T, H, W) to near maps (N, 2 width, T, H / 4, W / 4) and far ones (N, 4 width, T, H / 8, W / 8), by
    kernels that are `depth` frames deep."""

    def __init__(self, width: int, depth: int, rng: Any):
        def layer(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
            how = {"stride": (1, stride, stride), "padding": (depth // 2, 1, 1), "bias": False, "rng": rng}
            return [nn.Conv3d(inputs, outputs, (depth, 3, 3), **how), nn.BatchNorm3d(outputs), nn.ReLU()]

        self.near = nn.Sequential(*layer(1, width, 2), *layer(width, 2 * width, 2))
        self.far = nn.Sequential(*layer(2 * width, 4 * width, 2), *layer(4 * width, 4 * width, 1))

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        near = self.near(clips)
        return near, self.far(near)


class Look(nn.Module):
    """First frames (N, 1, H, W) to how far each view is to be moved, (N, 2) in [-1, 1]: a spatial transformer that
    moves only. Source: Jaderberg et al., "Spatial transformer networks", NIPS 2015, section 3.1."""

    def __init__(self, rng: Any):
        self.convs = nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=4, padding=2, rng=rng), nn.ReLU(),
            nn.Conv2d(8, 16, 5, stride=4, padding=2, rng=rng), nn.ReLU(),
            nn.Flatten(),
        )  # fmt: skip
        self.out = nn.Linear(16 * (HEIGHT // 16) * (WIDTH // 16), 2, rng=rng)
        self.out.weight.data, self.out.bias.data = nn.init.zeros(self.out.weight.shape), nn.init.zeros((2,))

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * F.tanh(self.out(self.convs(x)))


def shifted(clips: Tensor, shift: Tensor) -> Tensor:
    """Clips (N, C, T, H, W) sampled `shift` (N, 2), in [-1, 1], further right and down; what comes in is black."""
    n, c, t, h, w = clips.shape
    unit = Tensor(np.tile(np.float32([[1, 0], [0, 1]]), (n, 1, 1)))
    theta = F.concat([unit, shift.reshape(n, 2, 1)], axis=2)  # (N, 2, 3)
    grid = F.affine_grid(theta, (n, c * t, h, w), align_corners=False)
    moved = F.grid_sample(clips.reshape(n, c * t, h, w), grid, align_corners=False)
    return moved.reshape(n, c, t, h, w)
