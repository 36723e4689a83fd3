"""Complete tasks: ``python -m tasks`` lists them, ``python -m tasks NAME`` runs one.

A task is a package in this folder: the first line of its docstring says what it does, and ``main(argv)`` runs it.
Modules here serve all tasks.
"""
