"""Write the cards of the package's weights and the table of all results, and fill the marked blocks of README
and docs: ``make cards``.

``pointmae_zoo/reports/results.csv`` has all that ``evaluations/NAME.*.json`` measured of the weights NAME on
test; ``list --weights`` reads it. A card is rendered from the folder of the weights, from ``NAME.yaml`` here,
which people write, and from the evaluations that this file lists. A block of README or docs is filled from
the file that it names:

    <!-- table: linear model_cards/evaluations/i2p_mae_tiny.shapes.core.json -->
    ... replaced ...
    <!-- end -->

The first word says which command wrote the file:

- ``linear``, ``fewshot``, ``robustness`` (of frozen features), ``finetuned``, ``parts``: the ``pointmae-zoo
  evaluate`` of that name; ``changed``: ``evaluate robustness`` of a fine-tuned classifier; ``ablation``:
  ``evaluate compare``;
- ``speed`` (times beside plain code) and ``step`` (where the time of training steps goes): ``python -m
  benchmarks --out``; ``gpu``: ``python -m benchmarks gpu --out``; ``copies``: ``python -m benchmarks copies
  FOLDER --out``;
- ``published`` names ``published.csv``, and puts what was measured beside it; ``poses`` names
  ``results.csv``, and shows what it has for shapes that lie anyhow;
- ``labels``, ``changes`` and ``levers`` name a folder: all files that ``python -m model_cards.downstream``
  wrote there, ``evaluate robustness`` of its networks, or ``evaluate linear --split validation`` of
  trainings that were tried.

Only a ``gpu`` block may name a missing file, because nobody may have measured yet; it stays empty. No number
is written by hand: a test runs this with ``--check``.
"""

import functools
import json
import re
import sys
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

from model_cards import results
from pointmae_zoo.hub.cards.card import render_card
from pointmae_zoo.hub.pretrained import BUNDLED
from pointmae_zoo.models.registry import list_weights
from pointmae_zoo.reports.known_results import RESULTS
from pointmae_zoo.reports.tables import (
    ablation_table,
    changed_table,
    fewshot_table,
    head,
    line,
    linear_table,
    robustness_table,
    scores_table,
    with_note,
)

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- table: (\w+) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def speed_table(report: dict[str, Any]) -> str:
    """Times of one benchmark run and their ratios."""
    lines = ["| | plain | here | ratio |", "| --- | --- | --- | --- |"]
    for row in report["rows"]:
        plain = "" if row["plain"] is None else f"{1e3 * row['plain']:.1f} ms"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.1f}×"
        lines.append(f"| {row['name']} | {plain} | {1e3 * row['ours']:.1f} ms | {ratio} |")
    return with_note(lines, _machine(report))


def step_table(report: dict[str, Any]) -> str:
    """Where the time of training steps goes."""
    steps = report["steps"]
    lines = head("part of a step", *(step["name"] for step in steps))
    wholes = [sum(step["seconds"].values()) for step in steps]
    for part in dict.fromkeys(part for step in steps for part in step["seconds"]):
        cells = []
        for step, whole in zip(steps, wholes, strict=True):
            seconds = step["seconds"].get(part)
            cells.append("" if seconds is None else f"{1e3 * seconds:.0f} ms, {100 * seconds / whole:.0f} %")
        lines.append(line(part, *cells))
    lines.append(line("together", *(f"{1e3 * whole:.0f} ms" for whole in wholes)))
    return with_note(lines, _machine(report))


def labels_table(reports: list[dict[str, Any]]) -> str:
    """Test accuracy of fine-tuned networks, a line for each, a column for each number of labels."""
    shots = sorted({_shots(report) for report in reports})
    names = ["all" if number == inf else f"{number:g} of each class" for number in shots]
    lines = head("labelled clouds to learn from", *names)
    cells = {(report["context"]["label"], _shots(report)): report["summary"] for report in reports}
    for label in sorted(
        dict.fromkeys(label for label, _ in cells), key=lambda label: -cells[label, shots[0]][0]["mean"]
    ):
        found = [cells.get((label, number)) for number in shots]
        lines.append(line(label, *("" if not rows else spread_of(rows) for rows in found)))
    context = reports[0]["context"]
    return with_note(
        lines,
        f"{context['dataset']['file']}, {len(context['dataset']['classes'])} classes, {context['num_test']} "
        f"clouds to test, {len(context['runs'])} seeds each (other labelled clouds and initial weights). "
        f"{context['protocol'][:1].upper()}{context['protocol'][1:]}.",
    )


def spread_of(summary: list[dict[str, Any]]) -> str:
    """Mean and deviation of the accuracy."""
    row = next(row for row in summary if (row["measure"], row["votes"]) == ("accuracy", 0))
    return f"{row['mean']:.1f} ± {row['std']:.1f}"


def changes_table(reports: list[dict[str, Any]]) -> str:
    """Test accuracy of fine-tuned networks on changed clouds, a column for each network."""
    reports = sorted(reports, key=lambda report: -report["summary"][0]["mean"])
    lines = head("test clouds", *(report["context"]["label"] for report in reports))
    lines.append(line("as they are", *(spread_of(report["summary"]) for report in reports)))
    for rows in zip(*(report["robustness"] for report in reports), strict=True):
        if len({row["change"] for row in rows}) > 1:
            raise ValueError("files of other changes in one folder")
        found = (f"{row['test_mean']:.1f} ± {row['test_std']:.1f}" for row in rows)
        lines.append(line(rows[0]["change"], *found))
    context = reports[0]["context"]
    return with_note(
        lines,
        f"{context['dataset']['file']}, {len(context['dataset']['classes'])} classes, "
        f"{context['recipe']['shots']} clouds of each to learn from, {len(context['runs'])} seeds each.",
    )


def _shots(report: dict[str, Any]) -> float:
    shots = report["context"]["recipe"]["shots"]
    return inf if shots is None else float(shots)


def gpu_table(report: dict[str, Any]) -> str:
    """All that was measured on a GPU: one table for each kind of number."""
    lines = [*head("", "plain", "here", "ratio", "times the floor")]
    for row in report["rows"]:
        plain = "" if row["plain"] is None else f"{1e3 * row['plain']:.2f} ms"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.1f}×"
        floor = "" if row["of_floor"] is None else f"{row['of_floor']:.1f}× ({row['floor_by']})"
        lines.append(line(row["name"], plain, f"{1e3 * row['ours']:.2f} ms", ratio, floor))
    steps = report["steps"]
    lines += ["", *head("part of a step", *(step["name"] for step in steps))] if steps else []
    for part in dict.fromkeys(part for step in steps for part in step["seconds"]):
        lines.append(line(part, *(_share(step, part) for step in steps)))
    speeds = report["clouds_per_second"]
    batches = sorted({one["clouds"] for speed in speeds for one in speed["batches"]})
    if speeds:
        lines += ["", *head("`embed`, clouds/s in batches of", *(f"{batch:,}" for batch in batches))]
    for speed in speeds:
        found = {one["clouds"]: f"{one['clouds_per_second']:,.0f}" for one in speed["batches"]}
        lines.append(
            line(f"{speed['model']}, {speed['dtype']}", *(found.get(batch, "") for batch in batches))
        )
    sizes = report["over_points"]
    if sizes:
        first = sizes[0]
        title = f"points, {first['clouds']} clouds, {first['model']}"
        lines += ["", *head(title, *first["seconds"], "peak memory")]
    for size in sizes:
        times = (f"{1e3 * seconds:.2f} ms" for seconds in size["seconds"].values())
        memory = "" if size["peak_memory"] is None else f"{size['peak_memory'] / 1e9:.1f} GB"
        lines.append(line(f"{size['points']:,}", *times, memory))
    machine = report["machine"]
    note = f"{machine['gpu']}, torch {machine['torch']}, CUDA {machine['cuda']}."
    if agreed := report["agreement"]:
        worst = max(one["largest_difference"] for one in agreed)
        cosine = min(one["smallest_cosine"] for one in agreed)
        note += (
            f" Features are the CPU's within {worst:.0e} in float32, and in bfloat16 at a cosine of at least "
            f"{cosine:.4f}."
        )
    return with_note(lines, note)


def levers_table(reports: list[dict[str, Any]]) -> str:
    """Cross-validation on train of what was tried in training, upright and in any pose."""
    found: dict[str, dict[str, float]] = {}
    for report in reports:
        (row,) = (one for one in report["summary"] if one["classifier"] == "svm")
        context = report["context"]
        found.setdefault(context["label"], {})[context["pose"]] = row["cv_mean"]
    lines = head("training", "upright", "`--pose any`")
    for label, cells in found.items():
        numbers = (f"{cells[pose]:.1f}" if pose in cells else "" for pose in ("upright", "any"))
        lines.append(line(label, *numbers))
    context = reports[0]["context"]
    return with_note(
        lines,
        f"{context['dataset']['file']}, {len(context['dataset']['classes'])} classes: accuracy in percent of "
        f"a linear SVM by cross-validation on {context['num_train']} training clouds; test was not touched. "
        "One training each.",
    )


def copies_table(report: dict[str, Any]) -> str:
    """How often copies of meshes find their originals, and what `duplicates` says of them."""
    poses, found = report["poses"], report["duplicates"]
    lines = head(
        "copy", *(f"`--pose {pose}`" for pose in poses), "`duplicates`", "right verdict", "precision"
    )
    for kind, what in report["kinds"].items():
        first = (f"{values['recall'][kind][0]:.2f}" for values in poses.values())
        own = found[kind]
        numbers = (f"{own[name]:.3f}" for name in ("found", "verdict_right", "precision"))
        lines.append(line(what, *first, *numbers))
    passes = ", ".join(f"{values['passes']:.1f} ({pose})" for pose, values in poses.items())
    return with_note(
        lines,
        f"{report['meshes']} meshes of `{report['folder']}`, one copy of each kind. `--pose`: share whose "
        f"original is the most similar of all, by `{report['model']}`; passes of the network for a file: "
        f"{passes}. `duplicates`: share found, share of these with the right verdict, and share of all "
        "that is called a copy that is one.",
    )


def _share(step: dict[str, Any], part: str) -> str:
    """A part's time, its share of the step, and how near its matrix products come to their measured rate."""
    seconds = step["seconds"].get(part)
    if seconds is None:
        return ""
    said = f"{1e3 * seconds:.1f} ms, {100 * seconds / sum(step['seconds'].values()):.0f} %"
    peak = step["share_of_peak"].get(part)
    return said if peak is None else f"{said}, at {100 * peak:.0f} % of the rate"


def _machine(report: dict[str, Any]) -> str:
    machine = report["machine"]
    return f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}."


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "linear": linear_table,
    "robustness": robustness_table,
    "fewshot": fewshot_table,
    "finetuned": scores_table,
    "parts": scores_table,
    "changed": changed_table,
    "ablation": ablation_table,
    "speed": speed_table,
    "step": step_table,
    "gpu": gpu_table,
    "copies": copies_table,
}


def read(file: Path) -> dict[str, Any]:
    """One report."""
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return report


@functools.cache
def measured() -> list[results.Row]:
    """What was measured of all weights."""
    return results.results()


def rendered(text: str) -> str:
    """The text with every block filled from its file."""

    def fill(match: re.Match[str]) -> str:
        place = ROOT / match[3]
        if match[2] == "labels":
            table = labels_table([read(file) for file in sorted(place.glob("*.json"))])
        elif match[2] == "changes":
            table = changes_table([read(file) for file in sorted(place.glob("*.json"))])
        elif match[2] == "levers":
            table = levers_table([read(file) for file in sorted(place.glob("*.json"))])
        elif match[2] == "published":
            table = results.published_table(measured())
        elif match[2] == "poses":
            table = results.poses_table(measured())
        elif match[2] == "gpu" and not place.is_file():
            return f"{match[1]}{match[4]}"
        else:
            table = TABLES[match[2]](read(place))
        return f"{match[1]}{table}\n{match[4]}"

    return BLOCK.sub(fill, text)


def pages() -> dict[Path, str]:
    """What README, the pages of docs, the cards and the table of results should be."""
    cards = {
        ROOT / "model_cards" / f"{name}.md": render_card(
            BUNDLED / name, card=ROOT / "model_cards" / f"{name}.yaml"
        )
        for name in list_weights()
    }
    written = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    table = {RESULTS: results.as_csv(measured())}
    return {page: rendered(page.read_text(encoding="utf-8")) for page in written} | cards | table


def main() -> int:
    """Rewrite the pages that have changed; with ``--check`` only list them and return 1."""
    check = "--check" in sys.argv[1:]
    stale = []
    for path, text in pages().items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(ROOT).as_posix())
            if not check:
                path.write_text(text, encoding="utf-8")
    if stale:
        print(("out of date, run make cards: " if check else "rewritten: ") + ", ".join(stale))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
