"""The engine: a tensor is an array and where it came from; one pass walks back through a graph; calculus on top."""
