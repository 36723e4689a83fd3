"""One training loop for every task: `fit`.

    def loss(model, batch):
        x, target = images[batch], labels[batch]
        return F.cross_entropy(model(x), target)

    optimiser = optim.Adam(model.parameters(), lr=1e-3)
    batches = data.Batches(len(images), 32, seed=0)
    fit(model, optimiser, loss, batches, steps=1000, checkpoint="runs/net.npz", log="runs/net.jsonl", resume=True)

A run that is killed at any moment and started again with ``resume=True`` ends in the same bits as one that was not.
What makes it so: batches are a function of the step, and the checkpoint holds the model, the optimiser and the
state of every random generator.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

import numpy as np

from ..core.anomaly import AnomalyError
from ..core.context import anomaly
from ..core.tensor import Tensor, as_array
from ..device import numbers
from ..kernels.cpu.layout import laid_out
from ..kernels.cpu.memory import keep_memory
from ..nn import Module, recomputed
from ..optim import EMA, Optimiser, ReduceLROnPlateau
from ..optim.clipping import joint_norm, norm_parts, scale_gradients
from ..ranks.agreement import agree, program
from ..ranks.group import Alone, connect
from ..ranks.share import SharedEvaluation
from ..ranks.step import ShardedStep, meets
from ..recording.recorded import Recorded
from .callbacks import Callback, Callbacks, State, monitored
from .checkpoint import Diverged, Run, not_finite
from .interrupt import LAUNCHERS, deferred_interrupt
from .log import Record
from .logs import open_logs
from .progress import as_text, show_progress

M = TypeVar("M", bound=Module)


def fit(
    model: M,
    optimiser: Optimiser | Mapping[str, Optimiser],
    loss: Callable[[M, Any], Any],
    batches: Callable[[int], Any],
    steps: int,
    *,
    schedule: Callable[[int], float] | ReduceLROnPlateau | None = None,
    clip: float | None = None,
    accumulate: int = 1,
    ema: EMA | None = None,
    recompute: Iterable[Module] = (),
    record: bool = False,
    evaluate: Callable[[int], Mapping[str, float] | None] | None = None,
    evaluate_every: int = 1000,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    save_every: int = 1000,
    resume: bool = False,
    log: str | os.PathLike[str] | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
    generators: Mapping[str, np.random.Generator] | None = None,
    manual: bool = False,
    progress: bool = True,
    ranks: str | Alone | None = None,
    shards: int | None = None,
) -> Record:
    """Train `model` until `steps` steps are done in all, or a callback stops; return what was logged of the last one.

    Steps count from 0. Step s does: ``lr = schedule(s)``; ``loss(model, batches(s))``; backward; clip; update.

    loss: gives a scalar Tensor, or a dict of named terms, each logged apart. Trained is the entry "loss" if there
        is one, else the sum of the terms that require a gradient; plain numbers are only logged.
    batches: from the step to whatever `loss` takes: a `data.Batches`, or any function that depends on the step only.
    schedule: from the step to the rate of all groups; or a ReduceLROnPlateau, which looks at the number called
        `monitor`, the loss of the step or one from `evaluate`, after every `evaluate_every` steps.
    clip: the largest joint norm of the gradients; larger ones are scaled down.
    accumulate: how many batches each step takes: step s those from s * accumulate on. Trained on, and logged, is the
        mean of their losses, at the memory of one.
    ema: an average of the weights, updated after every step; `evaluate` sees the averages.
    recompute: modules whose forward runs again in the backward pass, to save memory: see `nn.recomputed`.
    record: replay loss and backward pass as a flat program from the third step on, in the same bits and less time: see
        `md.record`. It is for a loss that depends on the model and on the arrays of the batch alone, by operations on
        tensors; a warning says why if one does not, and steps go on as without it. CPU only, and not with recompute,
        manual, or an `nn.SyncBatchNorm` on shards.
    evaluate: called as ``evaluate(s)`` after every `evaluate_every` steps and the last, with the model in eval mode
        and without recording; the numbers it returns join that step's line in the log. Of several ranks it is called
        on the first, or on all if it is a `train.Metrics` or another `minidl.ranks.share.SharedEvaluation`.
    callbacks: functions that are called with a `train.State` after every `evaluate_every` steps and the last, evaluated
        or not; if one gives True, training ends. Those with state_dict and load_state_dict, such as
        `train.EarlyStopping` and `train.Best`, are in the checkpoint. A run that was stopped is finished: resumed, it
        goes on only if its callbacks, asked again, give no True. Of several ranks all call them, and the first decides.
    checkpoint: an .npz, written after every `save_every` steps, after the last, and on Ctrl-C. It is never half
        written: a crash leaves the one before.
    resume: go on from the checkpoint if there is one; the log is cut back to it. Otherwise a run starts from the
        beginning and replaces both. An option of the optimiser that differs from what the saved run was given (a lower
        rate after Diverged, say) holds from here on.
    log: a file of JSON lines, one per step: step, lr, every term, loss, grad_norm; or of CSV if its name ends so.
    tensorboard: a folder, for a file that TensorBoard shows: the same numbers as curves.
    generators: random generators that `loss` or `evaluate` draw from, by name. Those inside the model (dropout) are
        found without it, and `data.generator(seed, step)` needs no saving.
    manual: `loss` itself runs the backward passes and the optimisers' steps and returns numbers (adversarial
        training); `optimiser` may then be a dict of several. On shards it runs once for each shard, on the samples of
        that; `optimiser.step()`, `optim.clip_grad_norm` and ``EMA.update()`` take the gradients of the whole batch, the
        mean of the shards', and happen once. All else that it changes should be in `model`.
    ranks: the processes that train together, all of which call `fit` with the same arguments: "mpi" for those of MPI,
        "alone" for this process, None for MPI's if its launcher started this process (mpiexec -n 4 python train.py).
        The first one logs, evaluates and saves.
    shards: into how many parts each batch is cut, whose gradients are added up in a tree: the result is the same to
        the last bit on any number of ranks, see `minidl.ranks`. 8 on MPI, none alone, what the checkpoint was trained
        with on `resume`; 1 for none.

    Modules stay in the mode (train or eval) they are in. Ctrl-C ends the step at hand, saves, and raises
    KeyboardInterrupt; a second one stops at once. On several ranks SIGTERM and SIGUSR1 do the same. Raises Diverged if
    the loss or a gradient is not finite: the step is run again under `md.anomaly` to name the first operation at fault,
    and no checkpoint is written.

        >>> x = np.linspace(-1, 1, 8, dtype="f")[:, None]
        >>> model = nn.Linear(1, 1, rng=0)
        >>> sgd = optim.SGD(model.parameters(), lr=0.5)
        >>> def loss(model, rows):
        ...     return F.mse_loss(model(md.Tensor(x[rows])), 3 * x[rows] + 1)
        >>> last = train.fit(model, sgd, loss, data.Batches(8, 4), steps=200, progress=False)
        >>> round(model.weight.item(), 3), round(model.bias.item(), 3)
        (3.0, 1.0)
    """
    if accumulate < 1 or (manual and accumulate > 1):
        raise ValueError(f"accumulate must be at least 1, and 1 if the loss steps by itself (manual); got {accumulate}")
    _require_own(model, optimiser)
    group = connect(ranks)
    plateau = schedule if isinstance(schedule, ReduceLROnPlateau) else None
    keep_memory()
    called = Callbacks(callbacks)
    others = {"ema": ema, "plateau": plateau, "callbacks": called if called.callbacks else None}
    run = Run(model, optimiser, generators, checkpoint, others, group, shards)
    if group.size > 1:
        agree(group, program() | run.settings() | {
            "steps": steps, "accumulate": accumulate, "clip": clip, "record": record, "manual": manual,
            "resume": resume, "evaluate_every": evaluate_every, "save_every": save_every,
            "callbacks": [type(callback).__name__ for callback in called.callbacks],
        })  # fmt: skip
    start, line = run.begin(resume)
    averaged = nullcontext if ema is None else ema.applied
    if called.stopped:
        with averaged():
            if called(State(start - 1, dict(line), model, optimiser, group.first), group):
                return line
    for p in model.parameters():  # one layout, that of new layers: it decides the order of sums, and the speed
        if (array := laid_out(p.data)) is not p.data:
            p.data = array
    gradients = partial(_manual if manual else _gradients, run, loss)
    alone = run.shards == 1 or not meets(model)
    if record and alone and not (manual or recompute) and all(p.device == "cpu" for p in model.parameters()):
        gradients = Recorded(gradients, strict=False)
    backward = _backward(run, gradients, batches, accumulate, manual)
    if group.size > 1 and start < steps:
        before = run.random_state()
        backward.agree(start, partial(_gradients, run, loss))
        run.load_random_state(before)
    log, tensorboard, progress = (log, tensorboard, progress) if group.first else (None, None, False)
    with (
        open_logs(log, tensorboard, start) as logs, show_progress(start, steps, progress) as show,
        recomputed(recompute), deferred_interrupt(LAUNCHERS if group.size > 1 else ()) as interrupted,
    ):  # fmt: skip
        backward.interrupted = interrupted
        for step in range(start, steps):
            line = {"step": step}
            if schedule is not None:
                line["lr"] = plateau.optimizer.lr if plateau else run.set_lr(schedule(step))
            if manual:
                line |= _manual_step(run, backward, step)
            else:
                line |= _step(run, backward, step, clip)
            if ema is not None:
                ema.update()
            done = step + 1
            ended = done == steps
            if done % evaluate_every == 0 or ended:
                with averaged():
                    if evaluate is not None:
                        line |= _evaluate(run, evaluate, step)
                    ended |= called(State(step, dict(line), model, optimiser, group.first), group)
            if plateau is not None and done % evaluate_every == 0:
                plateau.step(monitored(plateau.monitor, line, "the schedule"))
            for each in logs:
                each.write(line)
            show(line, ended)
            stop = backward.stopped
            if done % save_every == 0 or ended or stop:
                for each in logs:
                    each.sync()  # the log on disk is never behind the checkpoint
                run.save(done, line)
            if stop:
                raise KeyboardInterrupt(f"stopped after step {step}; {run.where()}")
            if ended:
                break
    return line


def _require_own(model: Module, optimiser: Optimiser | Mapping[str, Optimiser]) -> None:
    """Refuse optimisers that change nothing of the model, which would be trained to no effect."""
    own = set(model.parameters())
    named = optimiser if isinstance(optimiser, Mapping) else {"": optimiser}
    if not any(p in own for one in named.values() for p in one.parameters):
        count = sum(len(list(one.parameters)) for one in named.values())
        raise ValueError(
            f"fit: none of the {count} parameters of the optimiser is one of the {len(own)} of the model, "
            f"{type(model).__name__}; make it of this model: optim.Adam(model.parameters())"
        )


# --- one step


def _gradients(
    run: Run, loss: Callable, batch: Any, first: bool, share: float, take: Callable | None = None
) -> dict[str, Any]:
    """The terms of the loss of a batch, divided by `share`, whose gradients are added to those of the batches before,
    unless it is the `first` of its step; `take` is `backward`'s."""
    total, terms = _total(loss(run.model, batch), share)
    if first:
        for optimiser in run.optimisers.values():
            optimiser.zero_grad()
    total.backward(take=take)
    return {**terms, "loss": total.data}


def _manual(
    run: Run, loss: Callable, batch: Any, first: bool, share: float, take: Callable | None = None
) -> dict[str, Any]:
    """As `_gradients`, for a loss that runs the backward passes and the steps itself."""
    return {name: as_array(value) / share for name, value in loss(run.model, batch).items()}


class WholeStep:
    """Computes the gradients of steps, of which each takes `accumulate` batches, one after the other."""

    def __init__(self, gradients: Callable, batches: Callable, accumulate: int):
        self.gradients, self.batches, self.accumulate = gradients, batches, accumulate
        self.interrupted: list = []

    @property
    def stopped(self) -> bool:
        return bool(self.interrupted)

    def __call__(self, step: int) -> dict[str, Any]:
        sums: dict[str, Any] = {}
        numbered = range(step * self.accumulate, (step + 1) * self.accumulate)
        for number in numbered:
            terms = self.gradients(self.batches(number), number == numbered[0], self.accumulate)
            for name, value in terms.items():
                sums[name] = sums[name] + value if name in sums else value
        return sums

    def culprit(self, step: int) -> str | None:
        """Run the step again and name the first operation that makes a NaN or an infinity."""
        try:
            with anomaly():
                self(step)
        except AnomalyError as error:
            return str(error)
        return None


def _backward(
    run: Run, gradients: Callable, batches: Callable, accumulate: int, manual: bool
) -> WholeStep | ShardedStep:
    if run.shards == run.group.size == 1:
        return WholeStep(gradients, batches, accumulate)
    parameters = [p for optimiser in run.optimisers.values() for p in optimiser.parameters]
    return ShardedStep(
        run.model, parameters, run.generators, gradients, batches, accumulate, run.shards, run.group, manual
    )


def _step(run: Run, backward: WholeStep | ShardedStep, step: int, clip: float | None) -> Record:
    before = run.random_state()
    parameters = [p for optimiser in run.optimisers.values() for p in optimiser.parameters]
    terms = backward(step)
    read = numbers([*terms.values(), *norm_parts(parameters)])  # all at once: a GPU stops for each reading
    record = dict(zip(terms, read))
    record["grad_norm"] = joint_norm(read[len(terms) :])
    if clip is not None:
        scale_gradients(parameters, record["grad_norm"], clip)
    if not (math.isfinite(record["loss"]) and math.isfinite(record["grad_norm"])):
        run.load_random_state(before)
        cause = backward.culprit(step) or _state_of(run.model)
        raise Diverged(f"step {step}: {as_text(record)}: {cause}. {run.where()}")
    for optimiser in run.optimisers.values():
        optimiser.step()
    return record


def _manual_step(run: Run, backward: WholeStep | ShardedStep, step: int) -> Record:
    terms = backward(step)
    record = dict(zip(terms, numbers(terms.values())))
    if not all(map(math.isfinite, record.values())):
        raise Diverged(f"step {step}: {as_text(record)}. {run.where()}")
    return record


def _total(terms: Any, share: float) -> tuple[Tensor, dict[str, Any]]:
    """The Tensor to train and the value of every term, where it lies: all divided by `share`."""
    named = terms if isinstance(terms, Mapping) else {"loss": terms}
    chosen = [named["loss"]] if "loss" in named else named.values()
    trained = [term for term in chosen if isinstance(term, Tensor) and term.requires_grad]
    if not trained or any(term.size != 1 for term in trained):
        raise TypeError(f"loss gives a scalar Tensor that requires a gradient, or a dict of them; got {terms!r:.99}")
    total = sum(trained[1:], trained[0])
    if share != 1:
        total = total / share
        named = {name: (v.detach() if isinstance(v, Tensor) else v) / share for name, v in named.items()}
    return total, {name: as_array(value) for name, value in named.items()}


def _state_of(model: Module) -> str:
    """What there is to say where no operation makes a NaN or an infinity out of finite numbers."""
    if name := not_finite(model):
        return f"{name} was not finite before the step; the update before it was too large: lower the lr, or clip"
    return "no operation made it out of finite numbers: look for it in the batch, or for gradients too large to add up"


def _evaluate(run: Run, evaluate: Callable, step: int) -> Record:
    """What the first rank finds, on all; and the random generators as it leaves them."""
    found: Record = {}
    shared = isinstance(evaluate, SharedEvaluation)
    if run.group.first or shared:
        with run.model.inference():
            found = (evaluate(step, run.group) if shared else evaluate(step)) or {}
            found = {name: float(value) for name, value in found.items()}
    if run.group.size > 1:
        found, state = json.loads(run.group.text(json.dumps([found, run.random_state()])))
        run.load_random_state(state)
    return found
