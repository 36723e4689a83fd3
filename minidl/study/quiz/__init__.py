"""The lecture's quizzes, as questions with one answer each that a few lines of Python prove."""

from . import detection, extensions, images
from .question import QuizQuestion

QUESTIONS: dict[str, QuizQuestion] = {q.id: q for q in [*extensions.QUESTIONS, *images.QUESTIONS, *detection.QUESTIONS]}

__all__ = ["QUESTIONS", "QuizQuestion"]
