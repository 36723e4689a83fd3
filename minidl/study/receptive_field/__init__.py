"""How far an output pixel sees: by formula, exactly, and in effect."""

from .field import ReceptiveField, receptive_field

__all__ = ["ReceptiveField", "receptive_field"]
