"""The questions, in the order of the course. Each file of this package declares some."""

from __future__ import annotations

from ..question import Question
from . import dice, jacobians, layer, looking, matrix, pooling, receptive, shortcut, skips, unet

MODULES = (dice, layer, receptive, pooling, skips, unet, matrix, jacobians, looking, shortcut)
QUESTIONS: dict[str, Question] = {q.id: q for module in MODULES for q in module.QUESTIONS}
