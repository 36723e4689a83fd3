"""``python -m tasks.models``: the networks that torchvision has, as the table of docs/networks.md; some minutes."""

from __future__ import annotations

import minidl as md
from minidl import nn

from . import MODELS, SMALL
from .pretrained import preparation

TRANSFORMERS = ("vit", "swin", "maxvit")  # whose multiply-adds are in attention, too, which is no layer


def row(name: str) -> str:
    """A line of the table: parameters, side of the image, billions of multiply-adds for it."""
    side = preparation(name)["side"]
    sized = {"image_size": side} if name.startswith("vit") else {}
    with nn.init.undrawn():
        model = MODELS[name](**sized)
    if name.startswith(TRANSFORMERS):
        parameters, billions = sum(p.size for p in model.parameters()), "-"
    else:
        counted = md.summary(model, (1, 3, side, side))
        parameters, billions = counted.parameters, f"{counted.macs / 1e9:.2f}"
    return f"| `{name}` | {parameters:,} | {side} | {billions} |"


if __name__ == "__main__":
    print("| network | parameters | side | billions of multiply-adds |\n|---|---|---|---|")
    for name in MODELS:
        if name not in SMALL:
            print(row(name), flush=True)
