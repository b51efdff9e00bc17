"""Energy-based models you can check: exact answers beside every approximate method."""

__version__ = "0.1.0"
