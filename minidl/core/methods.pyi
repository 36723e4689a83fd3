# For type checkers: nothing runs this, and core imports nothing of ops.
from ..ops.methods import Methods as Methods
