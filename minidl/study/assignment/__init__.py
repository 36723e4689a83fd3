"""The written assignment: questions to answer with a function each, and a check that names the mistake."""
