"""Point-M2AE's weights of the package torch-pointcloud, converted, against that package's own outputs.

`golden/torch_pointcloud_outputs.safetensors` was made once, with torch-pointcloud 0.0.18 on a CPU in float32:

- models `PointM2AEClassification(0, 40)`, `PointM2AEClassification(0, 15, group_sizes=(32, 16, 16),
  concat_pooling=True)`, `PointM2AEPartSegmentation(0, 50)` and `PointM2AEPretraining(0)`, which are those of
  its published weights modelnet40, scanobjectnn-*, shapenetpart and pretrain. Every entry of `state_dict()`
  was filled by `samples.filled_weights.fill`; names and shapes are in `torch_pointcloud_keys.json`.
- its `fps` and `knn` come from compiled extensions. Instead: plain torch, the first point first, then always
  the farthest from those picked; neighbours by a stable sort of squared distances.
- clouds: those of `reference_outputs.safetensors`, of which the second has seven points near the origin;
  1,024 points for modelnet40, else 2,048.
- `tokens` are the first four of the coarsest level, normalised; `pooled` is what enters the classifier.
  Parts: logits of the first 32 points. Pre-training: its encoder with nothing masked, one cloud at a time,
  because in a batch tokens also attend to padding; `pooled` is mean + max, `finest` the first eight tokens of
  level 0.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pointmae_zoo import convert_checkpoint, from_pretrained
from pointmae_zoo.hub import CheckpointError
from pointmae_zoo.models.preprocess import Preprocess
from samples.filled_weights import fill

GOLDEN = Path(__file__).parents[2] / "golden"
KEYS: dict[str, dict[str, list[int]]] = json.loads((GOLDEN / "torch_pointcloud_keys.json").read_text())
ORIGIN = "the package torch-pointcloud (Point-M2AE)"


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    clouds = load_file(GOLDEN / "reference_outputs.safetensors")["clouds"]
    return {"clouds": clouds, **load_file(GOLDEN / "torch_pointcloud_outputs.safetensors")}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """A converted and loaded model, by the name of its arrays."""

    def get(name: str) -> Any:
        folder = tmp_path_factory.mktemp(name)
        state = {key: fill(key, shape) for key, shape in KEYS[name].items()}
        save_file(state, folder / "model.safetensors")
        return from_pretrained(convert_checkpoint(folder / "model.safetensors", folder / "ours"))

    return get


def close(ours: Tensor, theirs: Tensor) -> None:
    """Within 2e-5 of the largest value; float32 gives 1e-6."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("name", ["modelnet40", "scanobjectnn"])
def test_classifiers(name: str, converted: Any, golden: dict[str, Tensor]) -> None:
    model = converted(name)
    assert {key: model.config.provenance[key] for key in ("made_by", "preset", "left_out")} == {
        "made_by": ORIGIN,
        "preset": name,
        "left_out": [],
    }
    scans = name == "scanobjectnn"
    as_they_are = {"center": "none", "scale": "none"} if scans else {}
    assert model.config.preprocess == Preprocess(num_points=2048 if scans else 1024, **as_they_are)
    clouds = golden["clouds"][:, : model.config.preprocess.num_points]
    with torch.no_grad():
        tokens = model.encoder.forward_features(clouds)
        close(tokens.features[-1][:, :4], golden[f"{name}.tokens"])
        close(model(clouds), golden[f"{name}.logits"])
    close(model.encoder.embed(clouds), golden[f"{name}.pooled"])


def test_part_segmenter(converted: Any, golden: dict[str, Tensor]) -> None:
    with torch.no_grad():
        logits = converted("parts")(golden["clouds"], golden["parts.object_class"])
    close(logits[:, :32], golden["parts.logits"])


def test_encoder_of_the_pretraining(converted: Any, golden: dict[str, Tensor]) -> None:
    encoder = converted("encoder")
    assert encoder.config.kind == "encoder" and encoder.config.preprocess.num_points == 2048
    decoder = ["decoder_norm", "decoder_pos_embeds", "h_decoder", "mask_token", "rec_head", "token_prop"]
    assert encoder.config.provenance["left_out"] == decoder
    with torch.no_grad():
        tokens = encoder.forward_features(golden["clouds"])
    close(tokens.features[-1][:, :4], golden["encoder.tokens"])
    close(tokens.features[0][:, :8], golden["encoder.finest"])
    close(encoder.embed(golden["clouds"]), golden["encoder.pooled"])


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    first = "h_encoder.token_embed.0.local_mlp.lins.0.weight"
    good = {key: torch.zeros(shape) for key, shape in KEYS["modelnet40"].items()}

    def fails(words: str, **changes: Tensor | None) -> None:
        state = {key: value for key, value in {**good, **changes}.items() if value is not None}
        save_file(state, tmp_path / "w.safetensors")
        with pytest.raises(CheckpointError, match=words):
            convert_checkpoint(tmp_path / "w.safetensors", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    what = r"recognised as a checkpoint of .*torch-pointcloud \(Point-M2AE\) \(classification\), but"
    fails(
        rf"{what} .*fit i2p_mae_base: wrong shape: encoder\.embeddings\.0\.conv1\.weight is \[128, 6\]",
        **{first: torch.zeros(128, 6)},  # colours or normals beside coordinates
    )
    fails(rf"{what} .*1 keys are none of its, such as head\.lins\.9", **{"head.lins.9": torch.zeros(1)})
    fails(rf"{what} .*missing head\.5\.bias", **{"head.norms.1.module.bias": None})
    fails(
        r"an encoder that is known, but no head: there is no rec_head\.weight \(the package",
        **{"head.lins.0.weight": None},
    )
    fails("not a checkpoint that is known: it has 248 tensors, such as h_encoder", **{first: None})
