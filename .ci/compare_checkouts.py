"""Compare what two checkouts compute and print on the examples: for changes that should change nothing.

    python .ci/compare_checkouts.py OLD NEW

Runs commands in both, on the bundled weights, the meshes of ``examples/`` and labelled procedural shapes, in
empty folders, with the interpreter that runs this script. Numbers must be equal bit for bit. Printed text may
differ in wording; differing lines are shown. Exits with 1 if numbers or exit codes differ.
"""

import difflib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

COMMANDS = (
    "list",
    "list --weights",
    "info i2p_mae_tiny.shapes",
    "info joint_mae_base",
    "recipes",
    "embed {meshes} --out features.npz",
    "embed {meshes} --out joint.csv --model joint_mae_tiny.shapes --up z --seed 3",
    "similar {meshes}/gear_fine.3mf features.npz",
    "predict {meshes} --out classes.csv",
    "export i2p_mae_tiny.shapes --out model.pt2",
    "pretrain --recipe smoke --out run --set steps=6 --set precision=float32 --set teacher.precision=float32",
    "embed {meshes} --out run.npz --model run",
    "pretrain --recipe joint_mae/smoke --out joint --set steps=4 --set precision=float32",
    "evaluate linear i2p_mae_tiny.shapes --data labelled.npz --classifier svm --seeds 1 --out linear.json",
    "evaluate fewshot i2p_mae_tiny.shapes --data labelled.npz --ways 3 --shots 5 --seeds 0 --out few.json",
    "evaluate robustness joint_mae_tiny.shapes --data labelled.npz --conditions noise --seeds 0 --out n.json",
    "finetune --recipe finetune_tiny --data labelled.npz --out fine --set steps=8 --set precision=float32",
    "evaluate finetuned fine --data labelled.npz --out fine.json",
    "evaluate curve fine.json --out curve.png",
    "predict {meshes} --model fine --out fine.csv",
    "finetune --recipe parts_tiny --data labelled.npz --out parts --set steps=4 --set precision=float32",
    "evaluate parts parts --data labelled.npz --votes 1 --out parts.json",
    "predict {meshes} --model parts --class table --parts-out coloured",
    "push run alice/run --dry-run",
    "download",
    "embed nothing --out nothing.npz",
    "similar {meshes}/gear_fine.3mf missing.npz",
    "predict {meshes} --model joint_mae_tiny.shapes",
    "info no_such_model",
)
LABELLED = "examples/part_shapes.py", "labelled.npz"


def main() -> int:
    old, new = (Path(one).resolve() for one in sys.argv[1:3])
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        places = {root: Path(folder) / str(number) for number, root in enumerate((old, new))}
        for root, place in places.items():
            place.mkdir()
            data = [sys.executable, str(root / LABELLED[0]), LABELLED[1]]
            subprocess.run(data, cwd=place, env=environment(root), check=True, capture_output=True)
        for command in COMMANDS:
            ended = [run(root, command, place) for root, place in places.items()]
            same = ended[0] == ended[1]
            print(
                f"{'same' if same else 'other'}: pointmae-zoo {command} (exit {ended[0][0]}, {ended[1][0]})"
            )
            different += ended[0][0] != ended[1][0]
            for line in difflib.unified_diff(ended[0][1], ended[1][1], lineterm="", n=0):
                if not line.startswith(("---", "+++", "@@")):
                    print("   ", line)
        for file in sorted(places[old].rglob("*")):
            if file.suffix in {".npz", ".csv", ".safetensors", ".jsonl", ".json", ".ply"}:
                name = file.relative_to(places[old])
                equal = numbers(file) == numbers(places[new] / name)
                print(f"{'same' if equal else 'OTHER'}: {name}")
                different += not equal
    for file in sorted(old.glob("pointmae_zoo/weights/*/*")):
        equal = (new / file.relative_to(old)).is_file() and sha256(file) == sha256(
            new / file.relative_to(old)
        )
        print(f"{'same' if equal else 'OTHER'}: {file.relative_to(old)}")
        different += not equal
    print(f"{different} differences that count")
    return 1 if different else 0


def environment(root: Path) -> dict[str, str]:
    """For commands of a checkout: one thread, and a Hub that can't be reached."""
    ours = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    return os.environ | ours


def run(root: Path, command: str, place: Path) -> tuple[int, list[str]]:
    """Exit code, and what was printed, without what differs from run to run."""
    words = command.format(meshes="meshes").split()
    if not (place / "meshes").exists():
        (place / "meshes").symlink_to(root / "examples/meshes")
    done = subprocess.run(
        [sys.executable, "-m", "pointmae_zoo.cli", *words],
        cwd=place,
        env=environment(root),
        capture_output=True,
        text=True,
    )
    text = re.sub(
        r"\d+(\.\d+)? ?(s|ms|it/s|files/s|clouds/s|shapes/s|clouds a second)\b",
        "TIME",
        done.stdout + done.stderr,
    )
    return done.returncode, text.replace(str(root), "ROOT").splitlines()


def numbers(file: Path) -> object:
    """What is compared of a file: arrays bit for bit; of JSON all numbers except times."""
    if not file.is_file():
        return None
    if file.suffix == ".npz":
        with np.load(file) as found:
            return {key: found[key].tobytes() for key in found.files if found[key].dtype.kind in "fiu"}
    if file.suffix == ".jsonl":
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return [{key: row[key] for key in row if not re.search("second|time|date", key)} for row in rows]
    if file.suffix == ".json":
        return dict(figures(json.loads(file.read_text(encoding="utf-8"))))
    return file.read_text(encoding="utf-8") if file.suffix == ".csv" else sha256(file)


def figures(tree: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a JSON file by their places; not times, sizes and times of change of files."""
    if isinstance(tree, (int, float)) and not re.search("second|stamp|changed|mtime|size", place):
        yield place, tree
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in children:
        yield from figures(value, f"{place}/{key}")


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
