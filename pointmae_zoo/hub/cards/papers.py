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
}
