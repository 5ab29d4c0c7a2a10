"""Put a run's encoder among the package's weights: ``python -m model_cards.bundle RUN architecture.tag``.

Matrices are stored in float16. Prints what the entry in ``registry.py`` pins.
"""

import argparse
from pathlib import Path

import pointmae_zoo
from pointmae_zoo.data.files import file_sha256
from pointmae_zoo.hub import from_pretrained, save_pretrained


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="a finished run folder")
    parser.add_argument("name", help="architecture.tag")
    args = parser.parse_args()
    encoder = from_pretrained(args.run, kind="encoder")
    if encoder.config.architecture != args.name.partition(".")[0]:
        parser.error(
            f"{args.run} holds {encoder.config.architecture}, which is not what {args.name} begins with"
        )
    folder = Path(pointmae_zoo.__file__).parent / "weights" / args.name
    save_pretrained(encoder, folder, half=True)
    weights = folder / "model.safetensors"
    print(f'sha256="{file_sha256(weights)}",')
    print(f"size={weights.stat().st_size},")
    print(f'config_sha256="{file_sha256(folder / "config.json")}",')


if __name__ == "__main__":
    main()
