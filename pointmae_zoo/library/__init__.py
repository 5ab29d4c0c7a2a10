"""What people do with the features of many shapes: search.

Importing this does not import torch."""

from pointmae_zoo.library.nearest import similar

__all__ = ["similar"]
