"""The version, for whom `minidl` itself is too much to import."""

__version__ = "0.2.0"
