"""Scores of frozen features: numbers that can be believed."""

from pointmae_zoo.evaluate.compare import compare, comparison_table
from pointmae_zoo.evaluate.evaluation import evaluate_linear
from pointmae_zoo.evaluate.linear import LinearProbe, linear_probe, paired_difference
from pointmae_zoo.evaluate.report import LinearReport

__all__ = [
    "LinearProbe",
    "LinearReport",
    "compare",
    "comparison_table",
    "evaluate_linear",
    "linear_probe",
    "paired_difference",
]
