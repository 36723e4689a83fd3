"""Which network of `MODELS` a file of weights fits, by names and shapes, and how its names are to be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minidl import nn
from minidl.files.weights import Contents
from minidl.files.weights.names import without
from minidl.nn.loading import WRAPPERS, nestings

from . import MODELS, pretrained


@dataclass(frozen=True)
class Fit:
    """The network `model`, of num_classes and in_channels; `key` and `strip` of `load_weights` give its names."""

    model: str
    key: str | None
    strip: str | None
    dimensions: dict[str, int]

    def text(self) -> str:
        """In words, with the renaming used."""
        ways = [f"{name}={value!r}" for name, value in (("key", self.key), ("strip", self.strip)) if value]
        options = [f"--weights-key {self.key}"] * bool(self.key) + [f"--strip {self.strip}"] * bool(self.strip)
        sizes = ", ".join(f"{name}={value}" for name, value in self.dimensions.items())
        how = f"md.load_weights(path, {', '.join(ways)}), or {' '.join(options)}" if ways else "names as they are"
        return f"{self.model}({sizes}): {how}"


def fit(name: str, contents: Contents) -> Fit | None:
    """How the network of this name takes the weights; None if it does not."""
    names = pretrained.older_names(dict(contents.entries))
    heads = [{"aux_logits": True}, {"aux_logits": False}] if pretrained.HEADS.get(name) else [{}]
    for model in (_undrawn(name, **options) for options in heads):
        wanted = [path for path, _ in model.named_parameters()]
        for key, strip in [(None, None), *nestings(names, wanted)]:
            entries = contents.under(key)
            state = pretrained.older_names(without(entries, strip) if strip else entries)
            if set(wanted) <= set(state) and (found := pretrained.dimensions(model, state)):
                fitted = _undrawn(name, **found, **pretrained.options(name, state))
                if all(path in state and state[path].shape == p.shape for path, p in fitted.named_parameters()):
                    return Fit(name, key, strip, found)
    return None


def first_fit(contents: Contents, path: str | Path) -> Fit | None:
    """The network that takes the weights; those whose names are in the file's are tried first.

    Made, and looked at closely, are those whose first and last parameters are there, behind any prefix.
    """
    stem, names = Path(path).name, pretrained.older_names(dict(contents.entries))
    parts = [[part for part in name.split(".") if part not in WRAPPERS] for name in names]
    there = {".".join(words[i:]) for words in parts for i in range(len(words))}
    order = sorted((n for n in MODELS if there.issuperset(pretrained.ends(n))), key=lambda n: (n not in stem, -len(n)))
    return next((found for name in order if (found := fit(name, contents))), None)


def _undrawn(name: str, **options: Any) -> nn.Module:
    with nn.init.undrawn():
        return MODELS[name](**options)
