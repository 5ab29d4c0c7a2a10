"""What to cite for weights, by the ``paper`` of a registry entry."""

from typing import NamedTuple


class Paper(NamedTuple):
    """A paper, and what of the weights it is about."""

    about: str
    method: str
    venue: str
    url: str
    bibtex: str


_POINT_M2AE = Paper(
    "whose encoder they have",
    "Point-M2AE",
    "NeurIPS 2022",
    "https://arxiv.org/abs/2205.14401",
    """\
@inproceedings{zhang2022pointm2ae,
  title     = {Point-M2AE: Multi-scale Masked Autoencoders for Hierarchical Point Cloud Pre-training},
  author    = {Zhang, Renrui and Guo, Ziyu and Gao, Peng and Fang, Rongyao and Zhao, Bin and Wang, Dong and
               Qiao, Yu and Li, Hongsheng},
  booktitle = {NeurIPS},
  year      = {2022}
}""",
)
_I2P_MAE = Paper(
    "whose method this is",
    "I2P-MAE",
    "CVPR 2023",
    "https://arxiv.org/abs/2212.06785",
    """\
@inproceedings{zhang2023i2pmae,
  title     = {Learning 3D Representations from 2D Pre-trained Models via Image-to-Point Masked Autoencoders},
  author    = {Zhang, Renrui and Wang, Liuhui and Qiao, Yu and Gao, Peng and Li, Hongsheng},
  booktitle = {CVPR},
  year      = {2023}
}""",
)

_JOINT_MAE = Paper(
    "whose method this is",
    "Joint-MAE",
    "IJCAI 2023",
    "https://arxiv.org/abs/2302.14007",
    """\
@inproceedings{guo2023jointmae,
  title     = {Joint-MAE: 2D-3D Joint Masked Autoencoders for 3D Point Cloud Pre-training},
  author    = {Guo, Ziyu and Zhang, Renrui and Qiu, Longtian and Li, Xianzhi and Heng, Pheng-Ann},
  booktitle = {IJCAI},
  year      = {2023}
}""",
)

PAPERS = {
    "arXiv:2212.06785": (_I2P_MAE, _POINT_M2AE),
    "arXiv:2302.14007": (_JOINT_MAE, _POINT_M2AE),
}
"""The method's own first."""
