"""Fill the marked blocks of README and cards from the JSON files that commands wrote: ``make cards``.

    <!-- table: linear model_cards/evaluations/i2p_mae_tiny.demo.core.json -->
    ... replaced ...
    <!-- end -->

``linear`` renders what ``pointmae-zoo evaluate linear --out`` wrote, ``speed`` what ``python -m benchmarks
--out`` wrote. No number in these blocks is written by hand; a test runs this with ``--check``.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- table: (\w+) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def linear_table(report: dict[str, Any]) -> str:
    """Accuracies of a linear probe beside its baselines, in percent, mean ± deviation over the runs."""
    context = report["context"]
    lines = [
        f"| frozen features, {len(context['dataset']['classes'])} classes "
        "| runs | cross-validation on train | test |",
        "| --- | --- | --- | --- |",
    ]
    for row in report["summary"]:
        if row["classifier"] == "svm":
            name = "these weights" if row["features"] == "weights" else f"the same network, {row['features']}"
            lines.append(f"| {name} | {row['runs']} | {_spread(row, 'cv')} | {_spread(row, 'test')} |")
    lines.append(f"| always the most frequent class | | | {context['majority_accuracy']:.1f} |")
    notes = [
        f"{context['dataset']['file']}: {context['num_train']} clouds to train, "
        f"{context['num_test']} to test.",
        f"{context['protocol'][0].upper()}{context['protocol'][1:]}.",
    ]
    for row in report["differences"]:
        if row["classifier"] == "svm":
            notes.append(
                f"Better than {row['baseline']} weights by {row['difference']:.1f} points "
                f"(95 % interval {row['low']:.1f} to {row['high']:.1f})."
            )
    return "\n".join([*lines, "", " ".join(notes)])


def _spread(row: dict[str, Any], which: str) -> str:
    mean = f"{row[which + '_mean']:.1f}"
    return mean if row["runs"] == 1 else f"{mean} ± {row[which + '_std']:.1f}"


def speed_table(report: dict[str, Any]) -> str:
    """Times of one benchmark run and their ratios."""
    machine = report["machine"]
    lines = ["| | plain | here | ratio |", "| --- | --- | --- | --- |"]
    for row in report["rows"]:
        plain = "" if row["plain"] is None else f"{1e3 * row['plain']:.1f} ms"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.1f}×"
        lines.append(f"| {row['name']} | {plain} | {1e3 * row['ours']:.1f} ms | {ratio} |")
    return "\n".join(
        [*lines, "", f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}."]
    )


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {"linear": linear_table, "speed": speed_table}


def rendered(text: str) -> str:
    """The text with every block filled from its file."""

    def fill(match: re.Match[str]) -> str:
        report = json.loads((ROOT / match[3]).read_text(encoding="utf-8"))
        return f"{match[1]}{TABLES[match[2]](report)}\n{match[4]}"

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
