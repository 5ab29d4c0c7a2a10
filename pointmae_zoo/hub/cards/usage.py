"""How to use weights, for their card: on the command line, from Python, through torch.hub."""

from typing import Any

from pointmae_zoo.hub.cards.release import Release

_CLI = """\
On the command line, files to features:

```sh
pip install "pointmae-zoo[fast]"
pointmae-zoo embed parts/ --out features.npz --model {name}
```"""

_PREDICT = """\
On the command line, files to {what}:

```sh
pip install "pointmae-zoo[fast]"
pointmae-zoo predict parts/ --model {name}{more}
```"""

_PYTHON = """\
From Python:

```python
import pointmae_zoo
from pointmae_zoo.shapes.read import read_points

{load}
points = read_points("part.stl")  # ({samples}, 3) on its surface; or any (N, 3) array of your own
clouds = {model}.config.preprocess([points])  # (1, {points}, 3)
{use}
```"""

_HUB = """\
Through `torch.hub`, with a clone of pointmae-zoo in the folder of that name:

```python
import torch

{model} = torch.hub.load(
    "pointmae-zoo",
    "{architecture}",
    source="local",
    {arguments},
)
```"""

_ENCODER = """\
encoder.embed(clouds)  # (1, {features}): one row for each shape
encoder.per_point_features(clouds)  # (1, {points}, {per_point})"""
_CLASSIFIER = """\
classifier(clouds)  # (1, {outputs}): a score for each class
classifier.encoder.embed(clouds)  # (1, {features}): features"""
_SEGMENTER = """\
object_class = torch.tensor([0])  # which of the {object_classes} kinds of objects it is
segmenter(clouds, object_class)  # (1, {points}, {outputs}): a score for each part"""


def usage(release: Release, model: Any, repo_id: str | None) -> str:
    """Three snippets, with the name that loads these weights and the kind that they are.

    Args:
        model: of the release; without weights will do.
        repo_id: where the weights will be on the Hub; without, and not in the registry: in their folder.
    """
    config, published = release.config, release.published
    if published is not None:
        name, pretrained = published.name, published.tag
    else:
        name = pretrained = repo_id or f"./{release.folder.resolve().name}"
    encoder = getattr(model, "encoder", model)
    sizes = {
        "points": config.preprocess.num_points,
        "features": encoder.feature_dim(),
        "per_point": sum(encoder.hyper.dims),
        "outputs": config.arguments.get("num_classes", config.arguments.get("num_parts")),
        "object_classes": config.arguments.get("num_object_classes"),
    }
    variable, code = {
        "classification": ("classifier", _CLASSIFIER),
        "part_segmentation": ("segmenter", _SEGMENTER),
    }.get(config.kind, ("encoder", _ENCODER))
    kind = ', kind="encoder"' if config.kind == "pretraining" else ""
    load = f'{variable} = pointmae_zoo.from_pretrained("{name}"{kind})'
    if config.kind == "pretraining":
        load += "  # without kind: with its decoder"
    if config.kind == "part_segmentation":
        load = f"import torch\n\n{load}"
    if config.kind == "classification":
        cli = _PREDICT.format(what="class names with probabilities", name=name, more="")
    elif config.kind == "part_segmentation":
        cli = _PREDICT.format(what="clouds coloured by part", name=name, more=" --parts-out coloured/")
    else:
        cli = _CLI.format(name=name)
    parts = [
        cli,
        _PYTHON.format(
            load=load,
            model=variable,
            samples=config.preprocess.surface_samples,
            points=sizes["points"],
            use=code.format(**sizes),
        ),
    ]
    if published is not None or repo_id is not None:
        arguments = f'pretrained="{pretrained}"'
        if config.kind in ("classification", "part_segmentation"):
            arguments += f',\n    kind="{config.kind}"'
        parts.append(_HUB.format(model=variable, architecture=config.architecture, arguments=arguments))
    return "\n\n".join(parts)
