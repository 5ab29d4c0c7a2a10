"""Mesh files in; a table of features and its nearest rows, class names, or coloured parts out.

Importing this does not import torch."""

from pointmae_zoo.inference.files import embed_files
from pointmae_zoo.inference.nearest import similar
from pointmae_zoo.inference.parts import PartPredictions, predict_parts
from pointmae_zoo.inference.predictions import Predictions, predict_files, write_predictions
from pointmae_zoo.inference.tables import Embeddings, read_table, write_table

__all__ = [
    "Embeddings",
    "PartPredictions",
    "Predictions",
    "embed_files",
    "predict_files",
    "predict_parts",
    "read_table",
    "similar",
    "write_predictions",
    "write_table",
]
