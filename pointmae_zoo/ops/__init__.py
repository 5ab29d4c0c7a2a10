"""Point operations: torch on any device, numba on a CPU where it is installed, Triton on a GPU.

Nothing is compiled at install time. Every operation says how it breaks ties, and all implementations give the
same indices.
"""

from pointmae_zoo.ops.batch_random import draw_per_cloud, share_of_batch
from pointmae_zoo.ops.chamfer import chamfer_distance
from pointmae_zoo.ops.depth_images import (
    AXIS_VIEWS,
    DepthViews,
    Rendering,
    ViewFrames,
    fill_holes,
    fit_view_frames,
    orbit_rotations,
    read_maps,
    render_depth_images,
    summed_depth_images,
    view_rotations,
    without_covers,
    zbuffer_depth_images,
)
from pointmae_zoo.ops.neighbors import index_points, knn, squared_distances, three_nn_interpolate
from pointmae_zoo.ops.sampling import farthest_point_sample

__all__ = [
    "AXIS_VIEWS",
    "DepthViews",
    "Rendering",
    "ViewFrames",
    "chamfer_distance",
    "draw_per_cloud",
    "farthest_point_sample",
    "fill_holes",
    "fit_view_frames",
    "index_points",
    "knn",
    "orbit_rotations",
    "read_maps",
    "render_depth_images",
    "share_of_batch",
    "squared_distances",
    "summed_depth_images",
    "three_nn_interpolate",
    "view_rotations",
    "without_covers",
    "zbuffer_depth_images",
]
