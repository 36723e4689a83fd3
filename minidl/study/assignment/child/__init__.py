"""The process that runs students' code: ``python FOLDER [PATH ...]``, FOLDER being this one.

It needs NumPy and nothing of minidl, so that it starts quickly and can stand in an environment where the answers are
not. Its files import each other as neighbours, by names that are forgotten before a student's file is read.
"""
