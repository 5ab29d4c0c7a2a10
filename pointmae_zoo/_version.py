"""The version, for every room: none imports the package's root."""

__version__ = "0.1.0"
