"""What the features are shown to be worth: the table, the figure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..classify.data import Dataset
from ..run import Job
from . import figure
from .judge import judge
from .model import Autoencoder
from .train import KINDS, Features, codes, in_range

Networks = dict[str, dict[int, Autoencoder]]  # by kind and seed


def compare(networks: Networks, dataset: Dataset, job: Job) -> None:
    """Print the accuracy of a linear classifier on each kind of features; leave table, numbers and figure."""
    settings = job.settings
    methods: dict[str, Callable[[int], Features]] = {
        "raw pixels": lambda seed: flat,
        f"PCA, {settings.code} numbers": lambda seed: principal(dataset.train.images, settings.code),
        **{name: features_of(networks[kind], job.device) for kind, name in KINDS.items()},
    }
    with job.progress("judging features", len(methods) * settings.seeds) as show:
        found = judge(methods, dataset, settings.labels, settings.runs(), show)
    head = f"{'labels per class':<24}" + "".join(f"{count:>14}" for count in settings.labels)
    lines = [
        f"accuracy (%) of a linear classifier on {len(dataset.test.labels)} new pictures of {dataset.name}, mean and "
        f"standard deviation over {settings.seeds} seeds",
        head,
        *(f"{name:<24}" + "".join(f"{cell(runs):>14}" for runs in row.values()) for name, row in found.items()),
        f"error of the picture that comes back: {errors(networks, dataset, job, settings.code)}",
    ]
    job.table(lines)
    job.write_json("accuracies.json", found)
    first = {kind: by_seed[settings.seed] for kind, by_seed in networks.items()}
    figure.features(job.out / "figure.png", found, first, dataset, job)
    print(f"in {job.out}: table.txt, accuracies.json, figure.png")


def cell(accuracies: list[float]) -> str:
    return f"{100 * np.mean(accuracies):.1f} ± {100 * np.std(accuracies, ddof=min(1, len(accuracies) - 1)):.1f}"


def errors(networks: Networks, dataset: Dataset, job: Job, code: int) -> str:
    """Root mean square errors of new pictures that have gone through the code, of the first seed."""
    from minidl import Tensor

    x = in_range(dataset.test.images)
    pca = fitted(dataset.train.images, code)
    parts = [("PCA", pca.inverse_transform(pca.transform(flat(dataset.test.images))).reshape(x.shape))]
    for kind, by_seed in networks.items():
        model = by_seed[job.settings.seed].to("cpu")
        with model.inference():
            parts.append((KINDS[kind], model(Tensor(x)).numpy()))
        model.to(job.device)
    return ", ".join(f"{name} {np.sqrt(np.mean((y - x) ** 2)):.3f}" for name, y in parts)


def features_of(by_seed: dict[int, Autoencoder], device: str) -> Callable[[int], Features]:
    return lambda seed: lambda images: codes(by_seed[seed], images, device)


def flat(images: np.ndarray) -> np.ndarray:
    """The pixels."""
    return in_range(images).reshape(len(images), -1)


def principal(images: np.ndarray, count: int) -> Features:
    """The first principal components of the pictures."""
    pca = fitted(images, count)
    return lambda others: pca.transform(flat(others))


def fitted(images: np.ndarray, count: int):
    from sklearn.decomposition import PCA

    return PCA(count, svd_solver="full").fit(flat(images))
