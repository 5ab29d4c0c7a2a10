"""Scores of frozen features and of fine-tuned networks: numbers that can be believed."""

from pointmae_zoo.evaluate.compare import compare, comparison_table
from pointmae_zoo.evaluate.evaluation import evaluate_linear
from pointmae_zoo.evaluate.finetuned import evaluate_finetuned
from pointmae_zoo.evaluate.linear import LinearProbe, linear_probe, paired_difference
from pointmae_zoo.evaluate.report import LinearReport
from pointmae_zoo.evaluate.runs import Run
from pointmae_zoo.evaluate.score_report import ScoreReport

__all__ = [
    "LinearProbe",
    "LinearReport",
    "Run",
    "ScoreReport",
    "compare",
    "comparison_table",
    "evaluate_finetuned",
    "evaluate_linear",
    "linear_probe",
    "paired_difference",
]
