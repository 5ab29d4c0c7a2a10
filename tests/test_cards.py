"""Cards and README: every number comes from a file that a command wrote, and every weight has a card."""

import subprocess
import sys
from pathlib import Path

import pytest

from pointmae_zoo import list_weights
from pointmae_zoo.registry import get_weights

ROOT = Path(__file__).resolve().parent.parent


def test_every_page_with_numbers_has_filled_tables() -> None:
    for path in [ROOT / "README.md", *(ROOT / "model_cards").glob("*.md")]:
        text = path.read_text(encoding="utf-8")
        assert text.count("<!-- table: ") == text.count("<!-- end -->") >= 2, path
        assert "-->\n<!-- end -->" not in text and "To be filled" not in text, path


def test_tables_are_what_the_json_files_say() -> None:
    done = subprocess.run(
        [sys.executable, "model_cards/render.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", list_weights())
def test_every_published_weight_has_a_card(name: str) -> None:
    card = (ROOT / "model_cards" / f"{name}.md").read_text(encoding="utf-8")
    entry = get_weights(name)
    assert card.startswith(f"# {name}\n") and f"`{entry.status}`" in card and entry.licence in card


def test_every_card_is_of_a_published_weight() -> None:
    assert [path.stem for path in sorted((ROOT / "model_cards").glob("*.md"))] == list_weights()
