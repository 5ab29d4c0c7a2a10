"""Fill the marked blocks of README and cards from the JSON files that commands wrote: ``make cards``.

    <!-- table: linear model_cards/evaluations/i2p_mae_tiny.shapes.core.json -->
    ... replaced ...
    <!-- end -->

``linear``, ``robustness`` (``evaluate linear --robustness``) and ``fewshot`` (``--few-shot``) render what
``pointmae-zoo evaluate linear --out`` wrote; ``ablation FILE FILE...`` one row for each such file, called as
its ``--label``; ``speed`` and ``step`` what ``python -m benchmarks --out`` wrote: times beside plain code,
and where the time of training steps goes.

No number in these blocks is written by hand; a test runs this with ``--check``.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- table: (\w+) (\S+(?: \S+)*) -->\n).*?(<!-- end -->)", re.DOTALL)


def linear_table(report: dict[str, Any]) -> str:
    """Accuracies of a linear probe beside its baselines, in percent, mean ± deviation over the runs."""
    context = report["context"]
    on_train = context.get("split") == "validation"
    title = f"frozen features, {len(context['dataset']['classes'])} classes"
    if context.get("protocol_name") == "paper":
        title += ", the papers' protocol"
    lines = _head(title, "runs", "cross-validation on train", "test")
    for row in _svm(report["summary"]):
        lines.append(_line(_name(row), str(row["runs"]), _spread(row, "cv"), _spread(row, "test")))
    majority = f"{context['majority_accuracy']:.1f}"
    always = (majority, "") if on_train else ("", majority)
    lines.append(_line("always the most frequent class", "", *always))
    tested = "test not touched" if on_train else f"{context['num_test']} to test"
    notes = [
        f"{context['dataset']['file']}: {context['num_train']} clouds to train, {tested}.",
        f"{context['protocol'][0].upper()}{context['protocol'][1:]}.",
    ]
    for row in report["summary"]:
        if (row["features"], row["classifier"]) == ("weights", "logistic") and not on_train:
            notes.append(f"With logistic regression instead of the SVM: {_spread(row, 'test')}.")
    for row in _svm(report["differences"]):
        notes.append(
            f"Better than {row['baseline']} weights by {row['difference']:.1f} points "
            f"(95 % interval {row['low']:.1f} to {row['high']:.1f})."
        )
    return _with_note(lines, " ".join(notes))


def robustness_table(report: dict[str, Any]) -> str:
    """Accuracies on changed test clouds, one line for each change, one column for each features."""
    asked, clean = report["context"]["robustness"], _svm(report["summary"])
    found = {(row["features"], row["change"]): row for row in _svm(report["robustness"])}
    lines = _head("test clouds", *(_name(row) for row in clean))
    lines.append(_line("as they are", *(_spread(row, "test") for row in clean)))
    for change in asked["changes"]:
        rows = [found[row["features"], change["name"]] for row in clean]
        lines.append(_line(change["name"], *(_spread(row, "test") for row in rows)))
    note = (
        f"Linear SVM {asked['classifier']} (seed {asked['seed']}). Noise: Gaussian, in units of the cloud's "
        "radius. Missing ball: the points nearest to a random one; missing side: those farthest along a "
        "random direction."
    )
    return _with_note(lines, note)


def fewshot_table(report: dict[str, Any]) -> str:
    """Accuracy of few-shot episodes, in percent, mean ± deviation over the runs."""
    asked = report["context"]["few_shot"]
    found = {(row["features"], row["ways"]): row for row in report["few_shot"]}
    lines = _head("frozen features", *(f"{one['ways']}-way {one['shots']}-shot" for one in asked))
    for label in dict.fromkeys(row["features"] for row in report["few_shot"]):
        rows = [found[label, one["ways"]] for one in asked]
        lines.append(_line(_name(rows[0]), *(_spread(row, "test") for row in rows)))
    lines.append(_line("chance", *(f"{100 / one['ways']:.1f}" for one in asked)))
    deviations = [f"{found['weights', one['ways']]['episode_std']:.1f}" for one in asked]
    source = "train" if report["context"]["split"] == "validation" else "test"
    any_of = asked[0]
    note = (
        f"{any_of['episodes']} episodes each: support from train, up to {any_of['queries']} clouds a class "
        f"from {source} to ask, no near duplicates between them; linear SVM (C = {any_of['C']:g}) on "
        "features standardised by the support; mean over classes. From episode to episode the accuracy of "
        f"these weights deviates by {' and '.join(deviations)}."
    )
    return _with_note(lines, note)


def ablation_table(*reports: dict[str, Any]) -> str:
    """One line for each variant: mean ± deviation over its training seeds, and how much better than the first
    it is on the same clouds."""
    ways = [one["ways"] for one in reports[0]["context"]["few_shot"]]
    tested = any(report["context"]["split"] == "test" for report in reports)
    # Clouds can be paired where all saw the same ones.
    paired = len({(one["context"]["split"], one["clouds"]["group"]) for one in reports}) == 1
    titles = ["variant", "training seeds", "cross-validation on train", *(["test"] if tested else [])]
    titles += ["minus the first [95 %]"] if paired else []
    lines = _head(*titles, *(f"{one}-way few-shot" for one in ways))
    for report in reports:
        row = next(row for row in _svm(report["summary"]) if row["features"] == "weights")
        cells = [report["context"]["label"], str(row["runs"]), _spread(row, "cv")]
        cells += [_spread(row, "test")] if tested else []
        if paired:
            cells.append("" if report is reports[0] else _paired(report, reports[0]))
        shots = {one["ways"]: one for one in report["few_shot"] if one["features"] == "weights"}
        lines.append(_line(*cells, *(_spread(shots[one], "test") if one in shots else "" for one in ways)))
    if not paired:
        return "\n".join(lines)
    note = (
        f"Differences are of the {'test' if tested else 'cross-validation'} accuracy, with an interval by "
        "bootstrap over groups of near duplicates; it does not cover the spread between training seeds."
    )
    return _with_note(lines, note)


def _paired(report: dict[str, Any], first: dict[str, Any]) -> str:
    """The difference of two reports on the same clouds, in points, with its interval."""
    import numpy as np

    from pointmae_zoo.evaluate import paired_difference

    right, groups = [], np.array(report["clouds"]["group"].split(), dtype=int)
    for one in (report, first):
        row = next(row for row in _svm(one["summary"]) if row["features"] == "weights")
        right.append(np.array(one["clouds"]["svm"].split(), dtype=float) / row["runs"])
    difference, low, high = paired_difference(right[0], right[1], groups)
    return f"{difference:+.1f} [{low:+.1f}, {high:+.1f}]"


def speed_table(report: dict[str, Any]) -> str:
    """Times of one benchmark run and their ratios."""
    lines = ["| | plain | here | ratio |", "| --- | --- | --- | --- |"]
    for row in report["rows"]:
        plain = "" if row["plain"] is None else f"{1e3 * row['plain']:.1f} ms"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.1f}×"
        lines.append(f"| {row['name']} | {plain} | {1e3 * row['ours']:.1f} ms | {ratio} |")
    return _with_note(lines, _machine(report))


def step_table(report: dict[str, Any]) -> str:
    """Where the time of training steps goes."""
    steps = report["steps"]
    lines = _head("part of a step", *(step["name"] for step in steps))
    wholes = [sum(step["seconds"].values()) for step in steps]
    for part in dict.fromkeys(part for step in steps for part in step["seconds"]):
        cells = []
        for step, whole in zip(steps, wholes, strict=True):
            seconds = step["seconds"].get(part)
            cells.append("" if seconds is None else f"{1e3 * seconds:.0f} ms, {100 * seconds / whole:.0f} %")
        lines.append(_line(part, *cells))
    lines.append(_line("together", *(f"{1e3 * whole:.0f} ms" for whole in wholes)))
    return _with_note(lines, _machine(report))


def _machine(report: dict[str, Any]) -> str:
    machine = report["machine"]
    return f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}."


def _svm(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["classifier"] == "svm"]


def _name(row: dict[str, Any]) -> str:
    return "these weights" if row["features"] == "weights" else f"the same network, {row['features']}"


def _spread(row: dict[str, Any], which: str) -> str:
    if row[which + "_mean"] is None:
        return "not touched"
    mean = f"{row[which + '_mean']:.1f}"
    return mean if row["runs"] == 1 else f"{mean} ± {row[which + '_std']:.1f}"


def _head(*titles: str) -> list[str]:
    return [_line(*titles), _line(*["---"] * len(titles))]


def _line(*cells: str) -> str:
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def _with_note(lines: list[str], note: str) -> str:
    return "\n".join([*lines, "", note])


TABLES: dict[str, Callable[..., str]] = {
    "linear": linear_table,
    "robustness": robustness_table,
    "fewshot": fewshot_table,
    "ablation": ablation_table,
    "speed": speed_table,
    "step": step_table,
}


def rendered(text: str) -> str:
    """The text with every block filled from its file."""

    def fill(match: re.Match[str]) -> str:
        reports = [json.loads((ROOT / name).read_text(encoding="utf-8")) for name in match[3].split()]
        return f"{match[1]}{TABLES[match[2]](*reports)}\n{match[4]}"

    return BLOCK.sub(fill, text)


def main() -> int:
    """Rewrite what has changed; with ``--check`` only say so and return 1."""
    check = "--check" in sys.argv[1:]
    stale = []
    for path in [ROOT / "README.md", *sorted((ROOT / "model_cards").glob("*.md"))]:
        before = path.read_text(encoding="utf-8")
        after = rendered(before)
        if after != before:
            stale.append(path.relative_to(ROOT).as_posix())
            if not check:
                path.write_text(after, encoding="utf-8")
    if stale:
        print(("out of date, run make cards: " if check else "rewritten: ") + ", ".join(stale))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
