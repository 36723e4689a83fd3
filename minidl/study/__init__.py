"""Tools to study with: they look into the engine; the engine does not know of them."""
