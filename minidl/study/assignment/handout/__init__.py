"""Assignments for programs that others grade with: Gradescope, otter-grader, nbgrader."""
