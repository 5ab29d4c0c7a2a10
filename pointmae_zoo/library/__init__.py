"""What people do with the features of many shapes: search."""

from pointmae_zoo.library.search import similar

__all__ = ["similar"]
