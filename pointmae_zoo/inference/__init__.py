"""From mesh files to a table of features, to class names, or to clouds coloured by part."""

from pointmae_zoo.inference.classification import Predictions, predict_files, write_predictions
from pointmae_zoo.inference.embedding import embed_files
from pointmae_zoo.inference.feature_tables import Embeddings, read_table, write_table
from pointmae_zoo.inference.part_prediction import PartPredictions, predict_parts

__all__ = [
    "Embeddings",
    "PartPredictions",
    "Predictions",
    "embed_files",
    "predict_files",
    "predict_parts",
    "read_table",
    "write_predictions",
    "write_table",
]
