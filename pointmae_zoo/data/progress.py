"""How far long work has come: a bar on a terminal, elsewhere a line now and then."""

import sys
from typing import Any

LINE_SECONDS = 30.0
"""Between two lines of a log."""


def progress_bar(
    iterable: Any = None,
    *,
    total: int | None = None,
    initial: int = 0,
    unit: str = "it",
    desc: str | None = None,
    shown: bool = True,
) -> Any:
    """A tqdm on stderr. Where stderr is no terminal it writes a whole line every 30 s, and a last one at the
    end if there was one before: work that takes less stays silent.

    Args:
        iterable, total, initial, unit, desc: tqdm's.
        shown: False: nothing is written.
    """
    from tqdm import tqdm

    class Lines(tqdm):  # type: ignore[misc, unused-ignore]
        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            self.fp.write(f"{msg or self}\n")
            self.fp.flush()

        def close(self) -> None:
            if not self.disable and self.last_print_t >= self.start_t + LINE_SECONDS:
                self.display()
            self.disable = True  # tqdm would wipe a bar from a terminal now
            super().close()

    settings: dict[str, Any] = {"total": total, "initial": initial, "unit": unit, "file": sys.stderr}
    if not shown or sys.stderr.isatty():
        return tqdm(iterable, desc=desc, disable=not shown, **settings)
    return Lines(
        iterable,
        desc=f"{desc}: " if desc else None,
        mininterval=LINE_SECONDS,
        maxinterval=2 * LINE_SECONDS,
        miniters=1,  # the clock is asked at every step: how fast the last ones were says nothing
        delay=LINE_SECONDS,
        bar_format="{desc}{n_fmt} of {total_fmt} {unit}s, {elapsed} gone, {remaining} to go{postfix}",
        **settings,
    )
