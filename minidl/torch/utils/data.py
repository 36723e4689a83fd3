"""torch.utils.data: data sets, samplers, and the DataLoader, whose workers are threads."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ..creation import as_tensor, randperm, rng_of, tensor
from ..harmless import module
from ..shaping import FUNCTIONS
from ..tensor import Tensor, lifted

_stack = lifted(FUNCTIONS["stack"])


class Dataset:
    """What has ``__getitem__`` and ``__len__``."""

    def __class_getitem__(cls, item: Any) -> type:
        return cls

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """What has ``__iter__``."""


class TensorDataset(Dataset):
    """Example i is entry i of each tensor."""

    def __init__(self, *tensors: Tensor):
        if any(len(t) != len(tensors[0]) for t in tensors):
            raise AssertionError("Size mismatch between tensors")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple:
        return tuple([t[index] for t in self.tensors])

    def __len__(self) -> int:
        return len(self.tensors[0])


class Subset(Dataset):
    """The examples of a data set at some places."""

    def __init__(self, dataset: Any, indices: Sequence[int]):
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[int(self.indices[index])]

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset):
    """Data sets one after another."""

    def __init__(self, datasets: Iterable[Any]):
        self.datasets = list(datasets)
        self.cumulative_sizes = list(itertools.accumulate(map(len, self.datasets)))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        index = index + len(self) if index < 0 else index
        which = bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]


class ChainDataset(IterableDataset):
    def __init__(self, datasets: Iterable[Any]):
        self.datasets = datasets

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain(*self.datasets)


class StackDataset(Dataset):
    """Several data sets side by side: a tuple, or a dict of names, of their examples."""

    def __init__(self, *several: Any, **named: Any):
        self.datasets = named or several

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.datasets, dict):
            return {name: d[index] for name, d in self.datasets.items()}
        return tuple([d[index] for d in self.datasets])

    def __len__(self) -> int:
        return len(next(iter(self.datasets.values() if isinstance(self.datasets, dict) else self.datasets)))


def random_split(dataset: Any, lengths: Sequence[float], generator: Any = None) -> list[Subset]:
    """Parts of these lengths, or shares that add up to 1, drawn at random."""
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1 + 1e-9:
        counts = [math.floor(len(dataset) * share) for share in lengths]
        for i in range(len(dataset) - sum(counts)):
            counts[i % len(counts)] += 1
        lengths = counts
    if sum(lengths) != len(dataset):
        raise ValueError("Sum of input lengths does not equal the length of the input dataset!")
    order = randperm(len(dataset), generator=generator).tolist()
    ends = np.cumsum(lengths).tolist()
    return [Subset(dataset, order[end - n : end]) for end, n in zip(ends, lengths)]


# --- samplers


class Sampler:
    """An order of the places of a data set."""

    def __init__(self, data_source: Any = None):
        pass

    def __class_getitem__(cls, item: Any) -> type:
        return cls


class SequentialSampler(Sampler):
    def __init__(self, data_source: Any):
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    def __init__(
        self, data_source: Any, replacement: bool = False, num_samples: int | None = None, generator: Any = None
    ):
        self.data_source, self.replacement, self.generator = data_source, replacement, generator
        self.num_samples = num_samples or len(data_source)

    def __iter__(self) -> Iterator[int]:
        n, rng = len(self.data_source), rng_of(self.generator)
        if self.replacement:
            yield from rng.integers(0, n, self.num_samples).tolist()
            return
        orders = (rng.permutation(n).tolist() for _ in itertools.count())
        yield from itertools.islice(itertools.chain.from_iterable(orders), self.num_samples)

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    def __init__(self, indices: Sequence[int], generator: Any = None):
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        return (self.indices[i] for i in rng_of(self.generator).permutation(len(self.indices)))

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    def __init__(self, weights: Any, num_samples: int, replacement: bool = True, generator: Any = None):
        self.weights = np.asarray(as_tensor(weights).numpy(), float)
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self) -> Iterator[int]:
        p = self.weights / self.weights.sum()
        return iter(rng_of(self.generator).choice(len(p), self.num_samples, self.replacement, p).tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    def __init__(self, sampler: Any, batch_size: int, drop_last: bool):
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        places = iter(self.sampler)
        while batch := list(itertools.islice(places, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        n = len(self.sampler)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


# --- batches


def default_collate(batch: Sequence[Any]) -> Any:
    """Examples as a batch: tensors, arrays and numbers side by side; tuples and dicts part by part."""
    first = batch[0]
    if isinstance(first, Tensor):
        return _stack(list(batch), 0)
    if isinstance(first, np.ndarray | np.generic):
        return as_tensor(np.stack(batch))
    if isinstance(first, float):
        return tensor(batch, dtype=np.float64)
    if isinstance(first, bool | int):
        return tensor(batch)
    if isinstance(first, str | bytes):
        return list(batch)
    if isinstance(first, Mapping):
        return {name: default_collate([example[name] for example in batch]) for name in first}
    if isinstance(first, Sequence):
        parts = [default_collate(part) for part in zip(*batch, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else parts
    raise TypeError(
        f"default_collate: examples are tensors, arrays, numbers, tuples or dicts, got {type(first).__name__}"
    )


def default_convert(data: Any) -> Any:
    return as_tensor(data) if isinstance(data, np.ndarray) else data


class DataLoader:
    """Batches of a data set, in the order of a sampler. With `num_workers` threads prepare the next ones."""

    def __init__(
        self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = None, sampler: Any = None,
        batch_sampler: Any = None, num_workers: int = 0, collate_fn: Callable | None = None, pin_memory: bool = False,
        drop_last: bool = False, timeout: float = 0, worker_init_fn: Callable | None = None,
        multiprocessing_context: Any = None, generator: Any = None, *, prefetch_factor: int | None = None,
        persistent_workers: bool = False, pin_memory_device: str = "", in_order: bool = True,
    ):  # fmt: skip
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        self.dataset, self.batch_size, self.num_workers, self.drop_last = dataset, batch_size, num_workers, drop_last
        self.generator, self.prefetch_factor, self.pin_memory = generator, prefetch_factor or 2, pin_memory
        self.collate_fn = collate_fn or (default_convert if batch_size is None else default_collate)
        self.iterable = isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__")
        if not self.iterable and sampler is None:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        self.sampler = sampler
        if batch_sampler is None and batch_size is not None and not self.iterable:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_sampler = batch_sampler

    def __class_getitem__(cls, item: Any) -> type:
        return cls

    def __len__(self) -> int:
        if self.iterable:
            n = len(self.dataset)
            return (
                n if self.batch_size is None else n // self.batch_size if self.drop_last else -(-n // self.batch_size)
            )
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)

    def _fetch(self, places: Any) -> Any:
        if self.batch_sampler is None:
            return self.collate_fn(self.dataset[places])
        if hasattr(self.dataset, "__getitems__"):
            return self.collate_fn(self.dataset.__getitems__(places))
        return self.collate_fn([self.dataset[i] for i in places])

    def __iter__(self) -> Iterator[Any]:
        if self.iterable:
            return self._streamed()
        order = iter(self.sampler if self.batch_sampler is None else self.batch_sampler)
        return map(self._fetch, order) if not self.num_workers else self._prepared(order)

    def _streamed(self) -> Iterator[Any]:
        examples = iter(self.dataset)
        if self.batch_size is None:
            yield from map(self.collate_fn, examples)
            return
        while batch := list(itertools.islice(examples, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield self.collate_fn(batch)

    def _prepared(self, order: Iterator[Any]) -> Iterator[Any]:
        """The batches in their order, while threads work ahead."""
        with ThreadPoolExecutor(self.num_workers, thread_name_prefix="worker") as threads:
            waiting: deque = deque()
            for places in itertools.islice(order, self.num_workers * self.prefetch_factor):
                waiting.append(threads.submit(self._fetch, places))
            while waiting:
                batch = waiting.popleft().result()
                for places in itertools.islice(order, 1):
                    waiting.append(threads.submit(self._fetch, places))
                yield batch


class DistributedSampler(RandomSampler):
    """A sampler of the only process there is."""

    def __init__(self, dataset: Any, num_replicas: Any = None, rank: Any = None, shuffle: bool = True, **options: Any):
        super().__init__(dataset)
        self.shuffle = shuffle

    def set_epoch(self, epoch: int) -> None:
        """Accepted: each pass has an order of its own."""

    def __iter__(self) -> Iterator[int]:
        return super().__iter__() if self.shuffle else iter(range(len(self.data_source)))


distributed = module("utils.data.distributed", "", DistributedSampler=DistributedSampler)


def get_worker_info() -> None:
    """None: workers are threads of this process."""
    return
