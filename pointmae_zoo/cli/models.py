"""``list``, ``info``, ``convert`` and ``export``: architectures and weights."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pointmae_zoo.cli.options import File, Name, options
from pointmae_zoo.cli.printing import field_rows, print_table


@options()
def list_(pattern: str | None = None, /, *, weights: bool = False) -> int:
    """Architectures, or the weights that exist for them.

    Args:
        pattern: such as "i2p*" (default: all)
        weights: list weights, architecture.tag
    """
    from pointmae_zoo.models import registry
    from pointmae_zoo.reports.known_results import main_numbers

    rows: list[tuple[str, ...]]
    matching = () if pattern is None else (pattern,)
    if weights:
        entries = [registry.get_weights(name) for name in registry.list_weights(*matching)]
        rows = [
            (
                entry.name,
                entry.status,
                entry.licence,
                entry.repo or "in the package",
                "; ".join(map(" ".join, main_numbers(entry.name).items())),
                entry.summary,
            )
            for entry in entries
        ]
        known = registry.list_weights()
    else:
        names = registry.list_models(*matching)
        rows = [(name, registry.get_architecture(name).summary) for name in names]
        known = registry.list_models()
    if not rows:
        raise ValueError(f"no name matches {pattern!r}; known: {', '.join(known) or 'none'}")
    print_table(rows)
    return 0


@options()
def info(name: str, /) -> int:
    """What a name, a folder or a repository of weights is: size, input, status, licence.

    Args:
        name: an architecture, weights, a folder of weights, or a repository of the Hub (ORG/REPO@REVISION)
    """
    from pointmae_zoo import hub
    from pointmae_zoo.hub.pretrained import is_published
    from pointmae_zoo.models import registry
    from pointmae_zoo.reports.known_results import main_numbers

    if is_published(name) and "." not in name:  # with one it is architecture.tag, weights
        entry = registry.get_architecture(name)
        model = registry.create_model(name)
        rows = [("architecture", name), ("summary", entry.summary), ("paper", entry.paper)]
        names = registry.list_weights(f"{name}.*")
        copy = "; 'pointmae-zoo convert' takes your own copy" if entry.has_reference else " yet"
        tail = [("weights", ", ".join(names) or f"none published{copy}")]
    else:
        model = hub.from_pretrained(name)
        config = model.config
        rows = [("weights", name), ("architecture", config.architecture), ("kind", config.kind)]
        if name in registry.list_weights():
            published = registry.get_weights(name)
            rows += [
                ("status", published.status),
                ("licence", published.licence),
                ("summary", published.summary),
                ("on test, in percent", "; ".join(map(" ".join, main_numbers(name).items()))),
            ]
        if config.labels:
            rows.append(("labels", ", ".join(config.labels)))
        tail = [("provenance", "")] if config.provenance else []
        tail += field_rows(config.provenance)
    encoder = getattr(model, "encoder", model)
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    rows.append(
        ("encoder", f"{parameters:,} parameters, {encoder.feature_dim()} features ({encoder.hyper.pool})")
    )
    rows.append(("input", ""))
    rows += field_rows(model.config.preprocess.to_dict())
    print_table(rows + tail)
    return 0


@options()
def convert(
    file: Path,
    out: Path,
    /,
    *,
    architecture: Name | None = None,
    preset: Annotated[str | None, Parameter(metavar="DATASET")] = None,
) -> int:
    """Your copy of others' weights -> a folder of weights.

    Turn a checkpoint of I2P-MAE's or Point-M2AE's official code (.pth), or Point-M2AE weights of the package
    torch-pointcloud (.safetensors), into model.safetensors and config.json. Its keys tell which of these it
    is. Nothing but tensors is read from it.

    Args:
        file: checkpoint, as torch.save or safetensors wrote it
        out: folder to write
        architecture: such as i2p_mae_base (default: the one whose checkpoints have such keys)
        preset: data set it was trained on: neighbours, radii and pooling follow from it; needed for
            classifiers of the official code. I2P-MAE's: modelnet40, scanobjectnn (OBJ-BG and OBJ-ONLY) or
            scanobjectnn_pb; Point-M2AE's: point_m2ae_modelnet40 or point_m2ae_scanobjectnn
    """
    from pointmae_zoo.hub import convert_checkpoint
    from pointmae_zoo.hub.checkpoint.config_file import CONFIG_FILE, read_config

    config, _ = read_config(
        convert_checkpoint(file, out, architecture=architecture, preset=preset) / CONFIG_FILE
    )
    origin = config.provenance
    print(f"{out}: {config.architecture}, {config.kind}, made by {origin['made_by']} ({origin['preset']})")
    if origin["left_out"]:
        print(f"left out: {', '.join(origin['left_out'])}")
    print(f"load it with from_pretrained({str(out)!r})")
    return 0


@options()
def export(model: str, /, *, out: File, pool: str | None = None, features: bool = False) -> int:
    """A model -> ONNX or a torch.export program.

    Write an encoder's features, or a classifier's logits, as ONNX or torch.export program: any number of
    clouds, each of as many points as the weights were trained with, prepared as the file's metadata says. The
    file is compared with the model before it is kept.

    Args:
        model: weights: a name, a folder, or ORG/REPO
        out: .onnx or .pt2
        pool: of features: max, mean, mean+max, mean,max or levels (default: as stored with the weights)
        features: a classifier's features, not its logits
    """
    from pointmae_zoo.inference.export import export_model

    made = export_model(model, out, pool=pool, labels=False if features else None)
    print(
        f"{made.path}: points (batch, {made.num_points}, 3) -> {made.outputs} (batch, {made.width}), "
        f"{made.bytes / 1e6:.1f} MB; differs from the model by at most {made.difference:.1g}"
    )
    return 0
