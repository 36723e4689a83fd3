"""``python -m minidl.check``: the command ``minidl check``."""

import sys

from ..__main__ import main

if __name__ == "__main__":
    sys.exit(main(["check", *sys.argv[1:]]))
