"""What to cite, by the ``paper`` of a registry entry."""

from typing import NamedTuple


class Paper(NamedTuple):
    """A method's paper."""

    method: str
    venue: str
    url: str
    bibtex: str


PAPERS = {
    "arXiv:2212.06785": Paper(
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
    ),
    "arXiv:2302.14007": Paper(
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
    ),
}
