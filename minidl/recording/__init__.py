"""A step recorded once, planned, and replayed: from a graph to a program.

    recorded.py  what the user calls      trace.py  notes a step       program.py  values and instructions
    plan.py      a program after passes   replay.py  a program as one Python function
    guards.py    what a plan relies on    contents.py  is something what it was?
"""

from .plan import PASSES, Plan
from .recorded import Recorded, record
from .trace import RecordError

__all__ = ["PASSES", "Plan", "RecordError", "Recorded", "record"]
