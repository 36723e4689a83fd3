"""The version and the address, for whom `minidl` itself is too much to import."""

__version__ = "0.2.0"
REPOSITORY = ""  # "owner/name" on GitHub, for links to files, to Colab and in the wheel; empty: no such links are made
