"""I2P-MAE (CVPR 2023, arXiv 2212.06785): masked points, guided and taught by an image network."""

from pathlib import Path

from pointmae_zoo.models.encoder import EncoderConfig
from pointmae_zoo.models.i2p_mae.i2p_network import I2PMAEConfig, I2PMAEForPretraining
from pointmae_zoo.models.i2p_mae.reference_checkpoints import REFERENCES
from pointmae_zoo.models.i2p_mae.torch_pointcloud_checkpoints import TORCH_POINTCLOUD
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
    name="i2p_mae",
    paper=Paper(
        "I2P-MAE",
        "CVPR 2023",
        "arXiv:2212.06785",
        "https://arxiv.org/abs/2212.06785",
        """\
@inproceedings{zhang2023i2pmae,
  title     = {Learning 3D Representations from 2D Pre-trained Models via Image-to-Point Masked Autoencoders},
  author    = {Zhang, Renrui and Wang, Liuhui and Qiao, Yu and Gao, Peng and Li, Hongsheng},
  booktitle = {CVPR},
  year      = {2023}
}""",
    ),
    recipes=Path(__file__).parent / "recipes",
)


@register_model
def i2p_mae_base() -> Architecture:
    """I2P-MAE at the paper's size: 12.7 M parameters, 2,048 points, 512/256/64 tokens."""
    return Architecture(
        family=FAMILY,
        encoder=EncoderConfig(),
        pretraining=I2PMAEConfig(),
        pretraining_model=I2PMAEForPretraining,
        preprocess=Preprocess(num_points=2048),
        references=(*REFERENCES, *TORCH_POINTCLOUD),
    )


@register_model
def i2p_mae_tiny() -> Architecture:
    """I2P-MAE made for CPUs: 1.8 M parameters, 1,024 points, 128/32 tokens."""
    return Architecture(
        family=FAMILY,
        encoder=EncoderConfig(
            num_tokens=(128, 32),
            num_neighbors=(16, 8),
            dims=(96, 192),
            depths=(2, 3),
            stem_widths=(64, 128),
            local_radius=(0.0, 0.0),
            embed_hidden=False,
            pool="levels",
        ),
        pretraining=I2PMAEConfig(
            mask_ratio=0.7,
            target_level=0,
            teacher_dim=128,
            num_views=6,
            target_points="tokens",
            read_mode="bilinear",
            standardize_saliency=True,
        ),
        pretraining_model=I2PMAEForPretraining,
        preprocess=Preprocess(num_points=1024),
    )


register_weights(
    Weights(
        architecture="i2p_mae_tiny",
        tag="shapes",
        sha256="932996ad1e24732cdcb53d0f67f8741fc6745e39d28505917012d5b6d5155549",
        size=3630776,
        config_sha256="c72048bd5fdfc2705ae455fa7e3dd348048d5c7aa9e2a86f620d58de8be95314",
        status="own-recipe",
        licence="Apache-2.0",
        summary="encoder, pre-trained on CC0 and procedural shapes (recipe pretrain_tiny)",
    )
)
register_weights(
    Weights(
        architecture="i2p_mae_tiny",
        tag="shapes24",
        sha256="748c7a286139f075e3fc37124b5bee03cf1103577e9652c6860f17e0d7a90d15",
        size=37536,
        config_sha256="1ab025d6b6e04fdcd44cd4d8858cb5fc3f6fc604f3327144729772d2f297b7d3",
        encoder="i2p_mae_tiny.shapes",
        status="own-recipe",
        licence="Apache-2.0",
        summary="classifier of 24 kinds of low-poly objects, a linear head on i2p_mae_tiny.shapes",
    )
)
register_weights(
    Weights(
        architecture="i2p_mae_tiny",
        tag="any_pose",
        sha256="ba1c7a0805ed2b19ed221bb7a2c6336e1cadc10f921d55fbb3a7f9a476cacafc",
        size=3630776,
        config_sha256="b0c1515dede19cbde2b910065c6c23a3c43df66290abed72f4fb04c3fc7da925",
        status="own-recipe",
        licence="Apache-2.0",
        summary="encoder for shapes in any pose, from i2p_mae_tiny.shapes (recipe pretrain_tiny_any_pose)",
    )
)
