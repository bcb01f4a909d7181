"""OverFeat as small Unix filters."""

__version__ = "5.0.0"
