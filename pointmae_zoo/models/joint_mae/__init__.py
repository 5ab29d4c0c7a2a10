"""Joint-MAE (IJCAI 2023, arXiv 2302.14007): pre-training on masked points and their masked depth images."""

from pathlib import Path

from pointmae_zoo.models.encoder import EncoderConfig
from pointmae_zoo.models.heads import ClassifierConfig
from pointmae_zoo.models.joint_mae.joint_config import JointMAEConfig
from pointmae_zoo.models.joint_mae.joint_network import JointMAEForPretraining
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.models.registry import (
    Architecture,
    Family,
    Paper,
    Weights,
    register_model,
    register_weights,
)

FAMILY = Family(
    name="joint_mae",
    paper=Paper(
        "Joint-MAE",
        "IJCAI 2023",
        "arXiv:2302.14007",
        "https://arxiv.org/abs/2302.14007",
        """\
@inproceedings{guo2023jointmae,
  title     = {Joint-MAE: 2D-3D Joint Masked Autoencoders for 3D Point Cloud Pre-training},
  author    = {Guo, Ziyu and Zhang, Renrui and Qiu, Longtian and Li, Xianzhi and Heng, Pheng-Ann},
  booktitle = {IJCAI},
  year      = {2023}
}""",
    ),
    recipes=Path(__file__).parent / "recipes",
)


@register_model
def joint_mae_base() -> Architecture:
    """Joint-MAE at the size of I2P-MAE's: 22.2 M parameters, 2,048 points, 512/256/64 tokens.

    The paper says that both modalities are embedded hierarchically; the sizes are ours, and so is adding mean
    and maximum for tasks.
    """
    return Architecture(
        family=FAMILY,
        encoder=EncoderConfig(depths=(0, 0, 12), embed_hidden=False, pool="mean+max"),
        pretraining=JointMAEConfig(),
        pretraining_model=JointMAEForPretraining,
        classification=ClassifierConfig(head_pool="mean+max"),
        preprocess=Preprocess(num_points=2048),
    )


@register_model
def joint_mae_tiny() -> Architecture:
    """Joint-MAE made for CPUs: 2.0 M parameters, 1,024 points, 128/32 tokens.

    All sizes are ours.
    """
    return Architecture(
        family=FAMILY,
        encoder=EncoderConfig(
            num_tokens=(128, 32),
            num_neighbors=(16, 8),
            dims=(96, 192),
            depths=(0, 4),
            stem_widths=(64, 128),
            local_radius=(0.0, 0.0),
            embed_hidden=False,
            pool="levels",
        ),
        pretraining=JointMAEConfig(
            image_size=112,
            cover=3,
            image_dims=(48, 96, 192),
            target_level=0,
            filled_gaps=11,
            weight_3d=10.0,  # its gradient is then about as large as those of the other two
        ),
        pretraining_model=JointMAEForPretraining,
        classification=ClassifierConfig(head_pool="mean+max"),
        preprocess=Preprocess(num_points=1024),
    )


register_weights(
    Weights(
        architecture="joint_mae_tiny",
        tag="shapes",
        sha256="a9a5003df3614a571335de227e30eb9a0d0c37713dc5002161aaab7e729e73ef",
        size=4051992,
        config_sha256="24fc7b165c7cbe298b5adb55fbddb2bec64dd4b5b14bbfbab5dcafcab89995d6",
        status="own-recipe",
        licence="Apache-2.0",
        summary="encoder, pre-trained on CC0 and procedural shapes (recipe joint_mae/pretrain_tiny)",
    )
)
