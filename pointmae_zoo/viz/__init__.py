"""Pictures: point clouds, nearest neighbours, reconstructions, parts, accuracy curves, confusion matrices.

They need matplotlib: ``pip install "pointmae-zoo[viz]"``. No function opens a window or changes pyplot's
state.
"""

from pointmae_zoo.viz.accuracy_curve import CurvePoint, draw_label_curve
from pointmae_zoo.viz.confusion_matrix import draw_confusion
from pointmae_zoo.viz.neighbour_pictures import draw_neighbours
from pointmae_zoo.viz.paint import draw_cloud
from pointmae_zoo.viz.part_pictures import PartPicture, draw_parts
from pointmae_zoo.viz.preview import draw_reconstruction

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
