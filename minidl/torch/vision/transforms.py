"""torchvision.transforms: the everyday ones, of Pillow pictures and tensors (C, H, W)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..creation import as_tensor, rng_of
from ..nn.functional import PUBLIC as F
from ..tensor import Tensor


class InterpolationMode(Enum):
    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"


PILLOW = {"nearest": 0, "nearest-exact": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}


def _is_picture(x: Any) -> bool:
    return hasattr(x, "getbands")


def _size(x: Any) -> tuple[int, int]:
    """Height and width."""
    return x.size[::-1] if _is_picture(x) else tuple(x.shape[-2:])


def to_tensor(pic: Any) -> Tensor:
    """A picture or an array (H, W, C) as a tensor (C, H, W), whole numbers from 0 to 255 as 0 to 1."""
    array = np.asarray(pic)
    array = array[:, :, None] if array.ndim == 2 else array
    array = np.ascontiguousarray(np.moveaxis(array, 2, 0))  # (H, W, C) -> (C, H, W)
    return as_tensor(array.astype(np.float32) / 255 if array.dtype == np.uint8 else array.copy())


def pil_to_tensor(pic: Any) -> Tensor:
    array = np.asarray(pic)
    return as_tensor(np.moveaxis(array[:, :, None] if array.ndim == 2 else array, 2, 0).copy())


def to_pil_image(pic: Any, mode: Any = None) -> Any:
    from PIL import Image

    array = np.asarray(pic.detach().numpy() if isinstance(pic, Tensor) else pic)
    if isinstance(pic, Tensor):
        array = (array * 255).astype(np.uint8) if array.dtype.kind == "f" else array
        array = np.moveaxis(array[None] if array.ndim == 2 else array, 0, -1)
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array, mode)


def normalize(tensor: Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> Tensor:
    mean, std = (as_tensor(np.asarray(n, tensor.numpy().dtype).reshape(-1, 1, 1)) for n in (mean, std))
    y = (tensor - mean) / std
    return tensor.copy_(y) if inplace else y


def resize(
    img: Any, size: Any, interpolation: Any = InterpolationMode.BILINEAR, max_size: Any = None, antialias: Any = True
) -> Any:
    h, w = _size(img)
    size = list(size) if isinstance(size, Sequence) else [size]
    if len(size) == 1:  # the shorter side
        short = size[0]
        size = [short, int(short * w / h)] if h <= w else [int(short * h / w), short]
    mode = getattr(interpolation, "value", interpolation)
    if _is_picture(img):
        return img.resize(tuple(size[::-1]), PILLOW[mode] if isinstance(mode, str) else mode)
    smooth = mode in ("bilinear", "bicubic")
    x = img if img.ndim == 4 else img[None]
    y = F["interpolate"](x.float(), tuple(size), mode=mode, antialias=bool(antialias) and smooth)
    return (y if img.ndim == 4 else y[0]).to(img.dtype)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    if _is_picture(img):
        return img.crop((left, top, left + width, top + height))
    return img[..., top : top + height, left : left + width]


def center_crop(img: Any, output_size: Any) -> Any:
    height, width = output_size if isinstance(output_size, Sequence) else (output_size, output_size)
    h, w = _size(img)
    if h < height or w < width:
        before = (max(0, (width - w) // 2), max(0, (height - h) // 2))
        after = (max(0, (width - w + 1) // 2), max(0, (height - h + 1) // 2))
        img = pad(img, [*before, *after])
        h, w = _size(img)
    return crop(img, round((h - height) / 2), round((w - width) / 2), height, width)


def hflip(img: Any) -> Any:
    return img.transpose(0) if _is_picture(img) else img.flip(-1)


def vflip(img: Any) -> Any:
    return img.transpose(1) if _is_picture(img) else img.flip(-2)


def pad(img: Any, padding: Any, fill: float = 0, padding_mode: str = "constant") -> Any:
    sides = [padding] * 4 if isinstance(padding, int) else list(padding) * (4 // len(padding))
    left, top, right, bottom = sides
    if _is_picture(img):
        array = np.asarray(img)
        widths = [(top, bottom), (left, right)] + [(0, 0)] * (array.ndim - 2)
        mode = {"reflect": "reflect", "edge": "edge", "symmetric": "symmetric"}.get(padding_mode)
        padded = np.pad(array, widths, mode) if mode else np.pad(array, widths, constant_values=fill)
        return to_pil_image(padded)
    mode = {"edge": "replicate"}.get(padding_mode, padding_mode)
    return F["pad"](img[None], (left, right, top, bottom), mode=mode, value=fill)[0]


def rgb_to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    if _is_picture(img):
        gray = img.convert("L")
        return gray if num_output_channels == 1 else to_pil_image(np.repeat(np.asarray(gray)[..., None], 3, 2))
    gray = 0.2989 * img[..., 0:1, :, :] + 0.587 * img[..., 1:2, :, :] + 0.114 * img[..., 2:3, :, :]
    return gray.expand(*img.shape) if num_output_channels == 3 else gray


class Compose:
    """Transforms one after another."""

    def __init__(self, transforms: Sequence[Callable]):
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        for t in self.transforms:
            img = t(img)
        return img

    def __repr__(self) -> str:
        return "Compose(\n" + "\n".join(f"    {t}" for t in self.transforms) + "\n)"


class Transform:
    """A function with options, given in the order of its `names`."""

    names: tuple[str, ...] = ()
    function: Callable

    def __init__(self, *arguments: Any, **options: Any):
        self.options = {**dict(zip(self.names, arguments)), **options}

    def __call__(self, img: Any) -> Any:
        return type(self).function(img, **self.options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={v}' for n, v in self.options.items())})"


def _random_crop(img: Any, size: Any, padding: Any = None, pad_if_needed: bool = False, fill: float = 0,
                 padding_mode: str = "constant") -> Any:  # fmt: skip
    height, width = size if isinstance(size, Sequence) else (size, size)
    img = img if padding is None else pad(img, padding, fill, padding_mode)
    h, w = _size(img)
    rng = rng_of()
    return crop(img, int(rng.integers(h - height + 1)), int(rng.integers(w - width + 1)), height, width)


def _random_resized_crop(img: Any, size: Any, scale: Any = (0.08, 1.0), ratio: Any = (3 / 4, 4 / 3),
                         interpolation: Any = InterpolationMode.BILINEAR, antialias: Any = True) -> Any:  # fmt: skip
    size = list(size) if isinstance(size, Sequence) else [size, size]
    (h, w), rng = _size(img), rng_of()
    for _ in range(10):
        area, aspect = h * w * rng.uniform(*scale), float(np.exp(rng.uniform(*np.log(ratio))))
        width, height = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if 0 < width <= w and 0 < height <= h:
            top, left = int(rng.integers(h - height + 1)), int(rng.integers(w - width + 1))
            return resize(crop(img, top, left, height, width), size, interpolation)
    return resize(center_crop(img, min(h, w)), size, interpolation)


def _maybe(function: Callable) -> Callable:
    return lambda img, p=0.5: function(img) if rng_of().random() < p else img


def _rotated(img: Any, degrees: Any, **options: Any) -> Any:
    low, high = degrees if isinstance(degrees, Sequence) else (-degrees, degrees)
    angle = float(rng_of().uniform(low, high))
    return img.rotate(angle) if _is_picture(img) else to_tensor(to_pil_image(img).rotate(angle))


def convert_image_dtype(image: Tensor, dtype: Any) -> Tensor:
    y = image.to(dtype)
    return y / 255 if not image.is_floating_point() and y.is_floating_point() else y


class Preset:
    """What torchvision's weights say of pictures: its options."""

    def __init__(self, **options: Any):
        self.options = options


MADE: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "ToTensor": (to_tensor, ()), "PILToTensor": (pil_to_tensor, ()), "ToPILImage": (to_pil_image, ("mode",)),
    "Normalize": (normalize, ("mean", "std", "inplace")),
    "Resize": (resize, ("size", "interpolation", "max_size", "antialias")),
    "CenterCrop": (center_crop, ("output_size",)),
    "Pad": (pad, ("padding", "fill", "padding_mode")), "Grayscale": (rgb_to_grayscale, ("num_output_channels",)),
    "RandomCrop": (_random_crop, ("size", "padding", "pad_if_needed", "fill", "padding_mode")),
    "RandomResizedCrop": (_random_resized_crop, ("size", "scale", "ratio", "interpolation")),
    "RandomHorizontalFlip": (_maybe(hflip), ("p",)), "RandomVerticalFlip": (_maybe(vflip), ("p",)),
    "RandomRotation": (_rotated, ("degrees",)), "Lambda": (lambda img, lambd: lambd(img), ("lambd",)),
    "ConvertImageDtype": (convert_image_dtype, ("dtype",)),
}  # fmt: skip
for _name, (_function, _names) in MADE.items():
    globals()[_name] = type(_name, (Transform,), {"function": staticmethod(_function), "names": _names})
functional = SimpleNamespace(
    to_tensor=to_tensor, pil_to_tensor=pil_to_tensor, to_pil_image=to_pil_image, normalize=normalize, resize=resize,
    crop=crop, center_crop=center_crop, hflip=hflip, vflip=vflip, pad=pad, rgb_to_grayscale=rgb_to_grayscale,
    convert_image_dtype=convert_image_dtype, InterpolationMode=InterpolationMode,
)  # fmt: skip


def __getattr__(name: str) -> Any:
    raise AttributeError(f"torchvision.transforms.{name} is not in minidl.torch; there are {', '.join(MADE)}")
