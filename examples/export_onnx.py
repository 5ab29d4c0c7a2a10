"""Features in another runtime: the encoder as ONNX, run by onnxruntime on the meshes beside this file.

    python examples/export_onnx.py [encoder.onnx]

The file's metadata say how to prepare points.
"""

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import pointmae_zoo
from pointmae_zoo.shapes.file_search import find_files

MESHES = Path(__file__).parent / "meshes"


def export_and_run(out: Path, model: Any = pointmae_zoo.DEFAULT_MODEL) -> np.ndarray:
    made = pointmae_zoo.export_model(model, out, labels=False)
    print(f"{out}: {made.bytes / 1e6:.1f} MB, differs from the model by at most {made.difference:.1g}")

    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    described = json.loads(session.get_modelmeta().custom_metadata_map["pointmae_zoo"])
    prepare = pointmae_zoo.Preprocess.from_dict(described["preprocess"])
    clouds = [pointmae_zoo.read_points(path, prepare.surface_samples) for path in find_files(MESHES)]
    (features,) = session.run(None, {"points": prepare(clouds).numpy()})
    print(f"{len(clouds)} meshes -> features {features.shape}")
    return features


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=Path("encoder.onnx"))
    export_and_run(parser.parse_args().out)
