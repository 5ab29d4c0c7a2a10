"""Put a run's encoder or classifier among the package's weights: ``python -m model_cards.bundle RUN NAME``.

Matrices are stored in float16. A classifier whose head was trained on the unchanged encoder of published
weights is stored without that encoder. This prints the values for ``register_weights`` in the family.
"""

import argparse
from pathlib import Path

import torch

import pointmae_zoo
from pointmae_zoo.hub import from_pretrained, save_pretrained
from pointmae_zoo.hub.checkpoint.model_folder import write_folder
from pointmae_zoo.system.files import file_sha256

WEIGHTS = Path(pointmae_zoo.__file__).parent / "weights"


def bundle(run: Path, name: str, *, encoder: str | None = None, to: Path = WEIGHTS) -> Path:
    """Store a finished run's encoder, or with ``encoder`` everything but its encoder.

    Args:
        run: its folder.
        name: ``architecture.tag``.
        encoder: published weights with the same encoder as the run, bit for bit.
        to: the folder of all weights.

    Returns:
        The new folder.

    Raises:
        ValueError: a run of another architecture, or with another encoder.
    """
    model = from_pretrained(run, kind=None if encoder else "encoder")
    if model.config.architecture != name.partition(".")[0]:
        raise ValueError(f"{run} holds {model.config.architecture}, which is not what {name} begins with")
    if encoder is None:
        return save_pretrained(model, to / name, half=True)
    state, inner = model.state_dict(), from_pretrained(encoder, kind="encoder").state_dict()
    lent = {f"encoder.{key}": tensor for key, tensor in inner.items()}
    if {key for key in state if key.startswith("encoder.")} != set(lent) or not all(
        torch.equal(state[key], tensor) for key, tensor in lent.items()
    ):
        raise ValueError(f"{run}: its encoder is not that of {encoder}; train the head alone")
    own = {key: tensor for key, tensor in state.items() if key not in lent}
    return write_folder(to / name, model.config, own, half=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="a finished run folder")
    parser.add_argument("name", help="architecture.tag")
    parser.add_argument("--encoder", help="published weights that have the same encoder")
    args = parser.parse_args()
    try:
        folder = bundle(args.run, args.name, encoder=args.encoder)
    except ValueError as error:
        parser.error(str(error))
    weights = folder / "model.safetensors"
    print(f'sha256="{file_sha256(weights)}",')
    print(f"size={weights.stat().st_size},")
    print(f'config_sha256="{file_sha256(folder / "config.json")}",')
    if args.encoder:
        print(f'encoder="{args.encoder}",')


if __name__ == "__main__":
    main()
