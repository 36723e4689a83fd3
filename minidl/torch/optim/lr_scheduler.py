"""torch.optim.lr_scheduler: the engine's schedules, functions from a step to a rate, over an optimizer's groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ... import optim as engine
from .. import advice

Schedule = Callable[[int], float]


class LRScheduler:
    """``step()`` after each epoch sets the learning rate of each group. Subclasses define ``get_lr``."""

    def __init__(self, optimizer: Any, last_epoch: int = -1, verbose: Any = None):
        self.optimizer, self.last_epoch = optimizer, last_epoch
        for group in optimizer.param_groups:
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError("param 'initial_lr' is not specified in param_groups when resuming an optimizer")
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self._step_count, self._is_initial = 0, True
        self.step()
        self._is_initial = False

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`, one for each group."""
        raise NotImplementedError(f"{type(self).__name__} defines no get_lr(self)")

    def _get_closed_form_lr(self) -> list[float]:
        """The rates at `last_epoch` as nothing else had changed them."""
        return self.get_lr()

    def _now(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def get_last_lr(self) -> list[float]:
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        self._step_count += 1
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        rates = self.get_lr() if epoch is None else self._get_closed_form_lr()
        for group, lr in zip(self.optimizer.param_groups, rates):
            group["lr"] = lr
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        return {n: v for n, v in vars(self).items() if n != "optimizer" and not callable(v)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)


_LRScheduler = LRScheduler


class OfSchedule(LRScheduler):
    """A schedule of the engine for each group. A step multiplies the rate that the group has by what the schedule
    changes, so that several schedulers of an optimizer work together, and a rate that a script sets by hand counts."""

    def schedule(self, lr: float) -> Schedule:
        raise NotImplementedError(f"{type(self).__name__} defines no schedule(self, lr)")

    def get_lr(self) -> list[float]:
        share, at = self.schedule(1.0), self.last_epoch
        if at and self._is_initial:  # a run goes on: the rate is what it was
            return self._now()
        before = share(at - 1) if at else 1.0
        return [lr * (share(at) / before) for lr in self._now()] if before else self._now()

    def _get_closed_form_lr(self) -> list[float]:
        return [self.schedule(lr)(self.last_epoch) for lr in self.base_lrs]


class LambdaLR(LRScheduler):
    def __init__(self, optimizer: Any, lr_lambda: Any, last_epoch: int = -1, verbose: Any = None):
        several = lr_lambda if isinstance(lr_lambda, list | tuple) else [lr_lambda] * len(optimizer.param_groups)
        self.lr_lambdas = list(several)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [lr * f(self.last_epoch) for f, lr in zip(self.lr_lambdas, self.base_lrs)]

    def state_dict(self) -> dict[str, Any]:
        return {n: v for n, v in super().state_dict().items() if n != "lr_lambdas"}


class MultiplicativeLR(LambdaLR):
    def get_lr(self) -> list[float]:
        if self._is_initial:
            return self._now()
        return [lr * f(self.last_epoch) for f, lr in zip(self.lr_lambdas, self._now())]


class StepLR(OfSchedule):
    def __init__(self, optimizer: Any, step_size: int, gamma: float = 0.1, last_epoch: int = -1, verbose: Any = None):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def schedule(self, lr: float) -> Schedule:
        return engine.step_decay(lr, self.step_size, self.gamma)


class MultiStepLR(OfSchedule):
    def __init__(
        self, optimizer: Any, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1, verbose: Any = None
    ):
        self.milestones, self.gamma = list(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def schedule(self, lr: float) -> Schedule:
        return engine.step_decay(lr, self.milestones, self.gamma)


class ConstantLR(OfSchedule):
    def __init__(
        self, optimizer: Any, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1, verbose: Any = None
    ):
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def schedule(self, lr: float) -> Schedule:
        return engine.constant(lr, self.factor, self.total_iters)


class LinearLR(OfSchedule):
    def __init__(
        self, optimizer: Any, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5,
        last_epoch: int = -1, verbose: Any = None,
    ):  # fmt: skip
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def schedule(self, lr: float) -> Schedule:
        return engine.linear(lr, self.total_iters, self.start_factor, self.end_factor)


class ExponentialLR(OfSchedule):
    def __init__(self, optimizer: Any, gamma: float, last_epoch: int = -1, verbose: Any = None):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def schedule(self, lr: float) -> Schedule:
        return engine.exponential(lr, self.gamma)


class PolynomialLR(OfSchedule):
    def __init__(
        self, optimizer: Any, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1, verbose: Any = None
    ):
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def schedule(self, lr: float) -> Schedule:
        return engine.polynomial(lr, self.total_iters, self.power)


class CosineAnnealingLR(LRScheduler):
    def __init__(self, optimizer: Any, T_max: int, eta_min: float = 0.0, last_epoch: int = -1, verbose: Any = None):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def _share(self, at: float) -> float:
        return (1 + math.cos(math.pi * at / self.T_max)) / 2  # it rises again after T_max

    def get_lr(self) -> list[float]:
        """As OfSchedule, above `eta_min`."""
        if self._is_initial:
            return self._now()
        at, low = self.last_epoch, self.eta_min
        if (at - 1 - self.T_max) % (2 * self.T_max) == 0:  # from the lowest point, which says nothing of the rate
            return [now + (lr - low) * self._share(self.T_max - 1) for now, lr in zip(self._now(), self.base_lrs)]
        return [low + (now - low) * (self._share(at) / self._share(at - 1)) for now in self._now()]

    def _get_closed_form_lr(self) -> list[float]:
        return [self.eta_min + (lr - self.eta_min) * self._share(self.last_epoch) for lr in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    def __init__(
        self, optimizer: Any, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1, verbose: Any = None
    ):
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        at, period = self.last_epoch, self.T_0
        while at >= period:
            at, period = at - period, period * self.T_mult
        share = (1 + math.cos(math.pi * at / period)) / 2
        return [self.eta_min + (lr - self.eta_min) * share for lr in self.base_lrs]


class CyclicLR(LRScheduler):
    """Smith, "Cyclical learning rates", 2017: up and down, and the momentum the other way."""

    def __init__(
        self, optimizer: Any, base_lr: Any, max_lr: Any, step_size_up: int = 2000, step_size_down: int | None = None,
        mode: str = "triangular", gamma: float = 1.0, scale_fn: Callable | None = None, scale_mode: str = "cycle",
        cycle_momentum: bool = True, base_momentum: Any = 0.8, max_momentum: Any = 0.9, last_epoch: int = -1,
        verbose: Any = None,
    ):  # fmt: skip
        count = len(optimizer.param_groups)
        several = [list(x) if isinstance(x, list | tuple) else [x] * count for x in (base_lr, max_lr, base_momentum,
                                                                                    max_momentum)]  # fmt: skip
        lows, self.max_lrs, self.base_momentums, self.max_momentums = several
        self.up, self.down, self.cycle_momentum = step_size_up, step_size_down or step_size_up, cycle_momentum
        by_cycle = {"triangular": lambda x: 1.0, "triangular2": lambda x: 0.5 ** (x - 1)}
        if scale_fn is None and mode not in (*by_cycle, "exp_range"):
            raise ValueError("mode is invalid and scale_fn is None")
        self.scale_fn = scale_fn or by_cycle.get(mode, lambda x: gamma**x)
        self.of_cycle = scale_mode == "cycle" if scale_fn else mode != "exp_range"
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.param_groups[0]):
            raise ValueError("optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
        if last_epoch == -1:
            for group, low in zip(optimizer.param_groups, lows):
                group["lr"] = group["initial_lr"] = low
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        length = self.up + self.down
        cycle, at = divmod(self.last_epoch, length)
        share = at / self.up if at <= self.up else (length - at) / self.down
        share *= self.scale_fn(cycle + 1 if self.of_cycle else self.last_epoch)
        if self.cycle_momentum:
            limits = zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums)
            for group, low, high in limits:
                _set_momentum(group, high - (high - low) * share)
        return [low + (high - low) * share for low, high in zip(self.base_lrs, self.max_lrs)]


def _set_momentum(group: dict, value: float) -> None:
    """In Adam its first beta."""
    if "betas" in group:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


class OneCycleLR(LRScheduler):
    """Smith and Topin, "Super-convergence", 2018: up, down, and the momentum the other way."""

    def __init__(
        self, optimizer: Any, max_lr: Any, total_steps: int | None = None, epochs: int | None = None,
        steps_per_epoch: int | None = None, pct_start: float = 0.3, anneal_strategy: str = "cos",
        cycle_momentum: bool = True, base_momentum: float = 0.85, max_momentum: float = 0.95, div_factor: float = 25.0,
        final_div_factor: float = 1e4, three_phase: bool = False, last_epoch: int = -1, verbose: Any = None,
    ):  # fmt: skip
        self.total_steps = total_steps or epochs * steps_per_epoch
        most = max_lr if isinstance(max_lr, list | tuple) else [max_lr] * len(optimizer.param_groups)
        first = [lr / div_factor for lr in most]
        last = [lr / final_div_factor for lr in first]
        turn = pct_start * self.total_steps - 1
        self.phases = [(turn, first, most, max_momentum, base_momentum)]
        if three_phase:
            self.phases.append((2 * turn, most, first, base_momentum, max_momentum))
        self.phases.append((self.total_steps - 1, self.phases[-1][2], last, self.phases[-1][4], max_momentum))
        self.cosine, self.cycle_momentum = anneal_strategy == "cos", cycle_momentum
        for group, lr in zip(optimizer.param_groups, first):
            group["lr"] = group["initial_lr"] = lr
        super().__init__(optimizer, last_epoch)

    def _between(self, a: float, b: float, share: float) -> float:
        return b + (a - b) / 2 * (math.cos(math.pi * share) + 1) if self.cosine else (b - a) * share + a

    def get_lr(self) -> list[float]:
        if self.last_epoch > self.total_steps:
            raise ValueError(f"Tried to step {self.last_epoch} times. The total number of steps is {self.total_steps}")
        ends = [0.0, *(phase[0] for phase in self.phases)]
        i = next((i for i, end in enumerate(ends[1:]) if self.last_epoch <= end), len(self.phases) - 1)
        share = (self.last_epoch - ends[i]) / (ends[i + 1] - ends[i])
        _, first, last, momentum, then = self.phases[i]
        if self.cycle_momentum:
            for group in self.optimizer.param_groups:
                _set_momentum(group, self._between(momentum, then, share))
        return [self._between(a, b, share) for a, b in zip(first, last)]


class SequentialLR(LRScheduler):
    def __init__(
        self, optimizer: Any, schedulers: Sequence[Any], milestones: Sequence[int], last_epoch: int = -1, **more: Any
    ):
        self._schedulers, self.milestones, self.optimizer = list(schedulers), list(milestones), optimizer
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for scheduler in self._schedulers:
            scheduler.last_epoch -= 1
        first = self._schedulers[0]
        first._is_initial = True
        first.step()
        first._is_initial = False
        self.last_epoch, self._last_lr = last_epoch + 1, self._schedulers[0].get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        self.last_epoch += 1
        i = sum(self.last_epoch >= m for m in self.milestones)
        if i and self.milestones[i - 1] == self.last_epoch:
            self._schedulers[i].step(0)
        else:
            self._schedulers[i].step()
        self._last_lr = self._schedulers[i].get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        return {"last_epoch": self.last_epoch, "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last_epoch = state_dict["last_epoch"]
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"]):
            scheduler.load_state_dict(state)


class ChainedScheduler(LRScheduler):
    def __init__(self, schedulers: Sequence[Any], optimizer: Any = None):
        self._schedulers, self.optimizer = list(schedulers), optimizer or schedulers[0].optimizer

    def step(self, epoch: int | None = None) -> None:
        for scheduler in self._schedulers:
            scheduler.step()

    def get_last_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]


class ReduceLROnPlateau(engine.ReduceLROnPlateau):
    """The engine's, whose groups are torch's here."""

    def __init__(self, optimizer: Any, *arguments: Any, verbose: Any = None, **options: Any):
        super().__init__(optimizer, *arguments, **options)
        self.last_epoch = 0

    def step(self, metrics: Any, epoch: int | None = None) -> None:
        self.last_epoch += 1
        super().step(float(metrics))

    def get_last_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    state_dict, load_state_dict = LRScheduler.state_dict, LRScheduler.load_state_dict


def __getattr__(name: str) -> Any:
    raise AttributeError(advice.unknown(f"torch.optim.lr_scheduler.{name}", name, globals()))
