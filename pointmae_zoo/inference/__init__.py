"""Mesh files in, a table of features out, and its nearest rows. Importing this does not import torch."""

from pointmae_zoo.inference.files import embed_files
from pointmae_zoo.inference.nearest import similar
from pointmae_zoo.inference.tables import Embeddings, read_table, write_table

__all__ = ["Embeddings", "embed_files", "read_table", "similar", "write_table"]
