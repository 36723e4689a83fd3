"""Which anchor answers for which object, and what a loss is made of."""
