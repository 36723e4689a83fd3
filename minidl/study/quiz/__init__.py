"""The lecture's quizzes, as questions with one answer each that a few lines of Python prove."""

from .detection import DETECTION, INSIDE
from .extensions import LAYERS, MODELS
from .images import IMAGES, SEGMENTATION
from .question import QuizQuestion

PARTS: dict[str, tuple[QuizQuestion, ...]] = {
    "extensions of convolutional layers": LAYERS,
    "classification models and transfer": MODELS,
    "image to image": IMAGES,
    "semantic segmentation": SEGMENTATION,
    "object detection and instance segmentation": DETECTION,
    "looking inside of trained models": INSIDE,
}
QUESTIONS: dict[str, QuizQuestion] = {q.id: q for part in PARTS.values() for q in part}

__all__ = ["PARTS", "QUESTIONS", "QuizQuestion"]
