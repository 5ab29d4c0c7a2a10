"""What people do with the features of many shapes: search.

Importing this does not import torch."""

from pointmae_zoo.library.search import similar

__all__ = ["similar"]
