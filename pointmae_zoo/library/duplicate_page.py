"""A report of duplicates as one page of HTML with pictures, which needs no other file."""

import base64
import html
import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.library.duplicate_report import DuplicateMember, DuplicateReport
from pointmae_zoo.viz.rendering import paint

MOST_PICTURES = 2000
"""A page has no more pictures; the groups after them are words alone."""
_SIDE = 160  # pixels

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222 }
section { border-top: 1px solid #ccc; padding: .6em 0 }
.row { display: flex; flex-wrap: wrap; gap: 1em }
figure { margin: 0; width: 15em; overflow-wrap: anywhere }
figure img { background: #f4f6f8; border-radius: .4em }
figcaption { font-size: 13px } .doubt { color: #8a4b00 } h2 { font-size: 1.05em; margin: .4em 0 }
"""


def page(report: DuplicateReport, points: Mapping[str, NDArray[np.float64]]) -> str:
    """The report as HTML.

    Args:
        points: (N, 3) of each file, by path, for its picture.
    """
    left = MOST_PICTURES
    sections = []
    for number, group in enumerate(report.groups, 1):
        figures = []
        for one in group.members:
            picture = _picture(one, points[one.file.path]) if left > 0 and one.file.path in points else ""
            left -= bool(picture)
            figures.append(f"<figure>{picture}<figcaption>{_caption(one)}</figcaption></figure>")
        title = f"{number}. {group.verdict.replace('_', ' ')}"
        sections.append(f"<section><h2>{title}</h2><div class=row>{''.join(figures)}</div></section>")
    failed = "".join(
        f"<li>{html.escape(path)}: {html.escape(reason)}</li>" for path, reason in report.failures
    )
    failures = f"<section><h2>Not read</h2><ul>{failed}</ul></section>" if failed else ""
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Duplicates</title>"
        f"<style>{_STYLE}</style><h1>Duplicates</h1>"
        f"<p>{report.files:,} files, {len(report.groups):,} groups. Each file is shown as it lies on the "
        f"first one of its group.</p>{''.join(sections)}{failures}</html>\n"
    )


def _caption(one: DuplicateMember) -> str:
    extents = " x ".join(f"{length:.4g}" for length in one.file.measures.extents)
    words = [f"<b>{html.escape(_name(one.file.path))}</b>", extents]
    if one.verdict is not None:
        told = one.verdict.replace("_", " ")
        if abs(one.scale - 1) > 5e-4 and one.verdict in ("scaled", "mirrored"):
            told += f", {one.scale:.4g} times the size"
        words.append(f"{told}; {100 * one.agreeing:.1f} % agrees, largest distance {100 * one.largest:.2f} %")
    words += [f"<span class=doubt>{html.escape(doubt)}</span>" for doubt in one.file.doubts]
    return "<br>".join(words)


def _name(path: str) -> str:
    """Characters that no encoding has, which odd file names hold, become escapes."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _picture(one: DuplicateMember, points: NDArray[np.float64]) -> str:
    from matplotlib.image import imsave

    back = np.linalg.inv(np.array(one.transform))
    lying = points @ back[:3, :3].T + back[:3, 3]
    pixels = paint(lying[:, [1, 2, 0]])  # most parts are drawn with z up
    stream = io.BytesIO()
    imsave(stream, np.clip(pixels, 0, 1), format="png")
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img width={_SIDE} height={_SIDE} alt="" src="data:image/png;base64,{data}">'
