"""A Hugging Face Hub on this machine, for the real client, with faults to order."""

from samples.hub.faults import (
    after,
    cut,
    hang_up,
    lose_answer,
    refuse,
    slow,
    stall,
    with_body,
    with_content,
    with_etag,
)
from samples.hub.server import LoopbackHub

__all__ = [
    "LoopbackHub",
    "after",
    "cut",
    "hang_up",
    "lose_answer",
    "refuse",
    "slow",
    "stall",
    "with_body",
    "with_content",
    "with_etag",
]
