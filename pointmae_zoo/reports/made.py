"""What stands beside every number: when, with what and how long."""

import time
from typing import Any

from pointmae_zoo.system.source_state import current_commit, versions


def made(started: float) -> dict[str, Any]:
    """Versions, commit, seconds since ``started`` (of ``time.perf_counter``) and date."""
    return {
        "versions": versions(),
        "commit": current_commit(),
        "wall_seconds": round(time.perf_counter() - started, 1),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
