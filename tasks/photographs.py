"""The photographs that scikit-image and scikit-learn bundle. Nothing is downloaded.

china and flower are by danielbuechele and vultilion on Flickr, CC BY 2.0.
"""

from __future__ import annotations

from functools import cache

import numpy as np


@cache
def photograph(name: str) -> np.ndarray:
    """A bundled picture, uint8 (H, W) or (H, W, 3). Do not write into it."""
    if name in ("china", "flower"):
        from sklearn.datasets import load_sample_image

        return load_sample_image(f"{name}.jpg")
    from skimage import data

    return data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
