"""Pictures: point clouds, nearest neighbours, reconstructions, parts, accuracy curves, confusion matrices.

They need matplotlib: ``pip install "pointmae-zoo[viz]"``. No function opens a window or changes pyplot's
state.
"""

from pointmae_zoo.viz.charts import CurvePoint, draw_confusion, draw_label_curve
from pointmae_zoo.viz.neighbour_pictures import draw_neighbours
from pointmae_zoo.viz.part_pictures import PartPicture, draw_parts
from pointmae_zoo.viz.reconstruction_pictures import draw_reconstruction
from pointmae_zoo.viz.rendering import draw_cloud

__all__ = [
    "CurvePoint",
    "PartPicture",
    "draw_cloud",
    "draw_confusion",
    "draw_label_curve",
    "draw_neighbours",
    "draw_parts",
    "draw_reconstruction",
]
