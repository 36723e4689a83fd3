"""The file of a picture, by the name that its annotations have for it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from minidl.data import IMAGE_ENDINGS
from minidl.files.pictures import visible


class PictureFiles:
    """The pictures in a folder, found by their names as people write them: in other case, without ending, renamed."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._listed = cache(_listed)

    def find(self, *names: str) -> Path:
        """The file of the first name that there is: exactly, or the only one in any case, or with any ending.

        Names may have folders, with either slash. Where none is there: the file that the first name says.
        """
        paths = [self.folder / re.sub(r"[\\/]+", "/", name.strip()).lstrip("/") for name in names]
        for path in paths:
            if path.is_file():
                return path
            for key in (path.name, path.name if path.suffix.lower() not in IMAGE_ENDINGS else path.stem):
                if len(same := self._listed(path.parent).get(key.lower(), [])) == 1:
                    return same[0]
        return paths[0]


def _listed(folder: Path) -> dict[str, list[Path]]:
    """The pictures in a folder by their names, and by these without ending, in lower case."""
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.suffix.lower() in IMAGE_ENDINGS and visible(path, folder):
            for key in (path.name, path.stem):
                found.setdefault(key.lower(), []).append(path)
    return found
