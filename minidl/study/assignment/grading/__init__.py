"""Marking a class: one folder per student in, points and feedback out. The student's process sees inputs alone; cases
come from a secret, and the verdict is made here. Its own page is docs/teaching.md."""
