"""How well what was found fits what is there: overlap, average precision."""
