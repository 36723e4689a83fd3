"""The adversarial term: a network that restores, trained against one that tells what it makes from photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor, data, nn, optim
from minidl import functional as F
from minidl.device import to_device

from ..denoise.evaluate import psnr
from ..run import Job
from .data import JUDGE
from .model import Discriminator

LR = 1e-3
REFEREE = ("referee.npz", "referee.jsonl")
PATCHES = 64  # of test images, that are judged


class Pair(nn.Module):
    """A network that restores, and one that tells what it makes from photographs."""

    def __init__(self, restorer: nn.Module, discriminator: Discriminator):
        self.restorer, self.discriminator = restorer, discriminator


def trained_with(job: Job, trained: nn.Module, photographs: Mapping[str, np.ndarray], weight: float) -> nn.Module:
    """Go on from a trained network with ``mean square error + weight * adversarial term``.

    The discriminator learns to give photographs 1 and restored patches 0; the term is the cross entropy of what it
    gives restored patches with 1, which is large where it tells them apart.
    Source: Goodfellow et al., "Generative adversarial nets", NIPS 2014, section 3, in the form that does not saturate;
    Ledig et al., "Photo-realistic single image super-resolution", CVPR 2017, eq. 3.
    """
    settings = job.settings
    restorer = settings.build()
    restorer.load_state_dict(trained.state_dict())
    pair = Pair(restorer, Discriminator(rng=data.generator(settings.seed, JUDGE))).to(job.device)
    optimisers: dict[str, optim.Optimiser] = {}

    def both(_: Any, lr: float) -> dict[str, optim.Optimiser]:
        for name in ("restorer", "discriminator"):
            optimisers[name] = optim.Adam(getattr(pair, name).parameters(), lr, betas=(0.5, 0.999))
        return optimisers

    def step(pair: Pair, batch: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
        damaged, clean = on(job.device, *batch)
        restored = pair.restorer(damaged)
        real, fake = pair.discriminator(clean), pair.discriminator(restored.detach())
        judged = (towards(real, 1) + towards(fake, 0)) / 2
        optimisers["discriminator"].zero_grad()
        judged.backward()
        optimisers["discriminator"].step()
        error, term = F.mse_loss(restored, clean), towards(pair.discriminator(restored), 1)
        optimisers["restorer"].zero_grad()
        (error + weight * term).backward()
        optimisers["restorer"].step()
        return {
            "error": error.item(), "adversarial": term.item(), "discriminator": judged.item(),
            "real": chance(real), "restored": chance(fake),
        }  # fmt: skip

    batches = data.Prefetch(settings.patches(photographs))
    files = (f"adversarial-{weight:g}.npz", f"adversarial-{weight:g}.jsonl")
    steps = settings.adversarial_steps
    job.fit(pair, both, step, batches, lr=LR, steps=steps, files=files, manual=True, record=False)
    return pair.restorer


class Judged(NamedTuple):
    """Of the patches of test images that a network gives: their PSNR, how often they are taken for photographs."""

    psnr: float
    chance: float
    patches: Sequence[np.ndarray]


class Referee:
    """A discriminator that no network is trained against: it learns to tell photographs from what one network makes."""

    def __init__(self, job: Job, restorer: nn.Module, photographs: Mapping[str, np.ndarray]):
        self.job, settings = job, job.settings
        self.net = Discriminator(rng=data.generator(settings.seed, JUDGE, 1)).to(job.device)

        def loss(net: nn.Module, batch: tuple[np.ndarray, np.ndarray]) -> Tensor:
            damaged, clean = on(job.device, *batch)
            with restorer.inference():
                restored = restorer(damaged)
            return (towards(net(clean), 1) + towards(net(restored.detach()), 0)) / 2

        batches = data.Prefetch(settings.patches(photographs))
        steps = settings.adversarial_steps
        job.fit(self.net, optim.Adam, loss, batches, lr=LR, steps=steps, files=REFEREE, record=False)

    def judge(self, networks: Mapping[str, nn.Module], test: Mapping[str, np.ndarray]) -> dict[str, Judged]:
        """The photographs themselves, and each network."""
        patches = self.job.settings.patches(test)
        damaged, clean = patches.drawn(data.generator(self.job.settings.seed, JUDGE, 2), PATCHES)
        found = {"photographs": clean}
        for name, net in networks.items():
            with net.inference():
                found[name] = net(*on(self.job.device, damaged)).to("cpu").numpy()
        with self.net.inference():
            return {
                name: Judged(psnr(clean, x), chance(self.net(*on(self.job.device, x))), list(x[:4, 0]))
                for name, x in found.items()
            }


def on(device: str, *arrays: np.ndarray) -> list[Tensor]:
    return [Tensor(to_device(array, device)) for array in arrays]


def chance(logits: Tensor) -> float:
    """The mean probability that logits say."""
    return float(F.sigmoid(logits.detach()).mean().item())


def towards(logits: Tensor, label: float) -> Tensor:
    """The mean cross entropy of logits with one label for all."""
    target = logits.detach() * 0 + label
    return F.binary_cross_entropy_with_logits(logits, target)
