"""Energy-based models you can check: exact answers beside every approximate method."""

from ebmlib._data import path as data_path

__all__ = ["data_path"]
__version__ = "0.1.0"
