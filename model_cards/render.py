"""Write the cards of the package's weights, and fill the marked blocks of README and docs: ``make cards``.

A card is rendered from the folder of the weights, from what people state in ``NAME.yaml`` here, and from the
evaluations that it lists. A block of README or of a page of docs is filled from the JSON file that it names:

    <!-- table: linear model_cards/evaluations/i2p_mae_tiny.shapes.core.json -->
    ... replaced ...
    <!-- end -->

``linear``, ``fewshot``, ``robustness`` (of frozen features), ``finetuned`` and ``parts`` render what the
command of ``pointmae-zoo evaluate`` of that name wrote, ``changed`` what ``evaluate robustness`` of a
fine-tuned classifier wrote, ``ablation`` what ``evaluate compare`` wrote; ``speed`` and ``step`` what
``python -m benchmarks --out`` wrote: times beside plain code, and where the time of training steps goes.

No number is written by hand; a test runs this with ``--check``.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pointmae_zoo.hub.cards.card import render_card
from pointmae_zoo.hub.cards.results import (
    ablation_table,
    fewshot_table,
    head,
    line,
    linear_table,
    robustness_table,
    with_note,
)
from pointmae_zoo.hub.cards.scores import changed_table, scores_table
from pointmae_zoo.hub.pretrained import BUNDLED
from pointmae_zoo.registry import list_weights

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
}


def rendered(text: str) -> str:
    """The text with every block filled from its file."""

    def fill(match: re.Match[str]) -> str:
        report = json.loads((ROOT / match[3]).read_text(encoding="utf-8"))
        return f"{match[1]}{TABLES[match[2]](report)}\n{match[4]}"

    return BLOCK.sub(fill, text)


def pages() -> dict[Path, str]:
    """What README, the pages of docs and the cards should be."""
    cards = {
        ROOT / "model_cards" / f"{name}.md": render_card(
            BUNDLED / name, card=ROOT / "model_cards" / f"{name}.yaml"
        )
        for name in list_weights()
    }
    written = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return {page: rendered(page.read_text(encoding="utf-8")) for page in written} | cards


def main() -> int:
    """Rewrite what has changed; with ``--check`` only say so and return 1."""
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
