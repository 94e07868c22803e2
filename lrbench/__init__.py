"""lrbench: a benchmark harness for low-resolution image recognition."""

__version__ = "0.1.0"
