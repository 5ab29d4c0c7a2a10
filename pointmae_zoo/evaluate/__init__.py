"""Scores of frozen features and of fine-tuned networks: numbers that can be believed."""

from pointmae_zoo.evaluate.fewshot import evaluate_fewshot
from pointmae_zoo.evaluate.finetuned import evaluate_finetuned
from pointmae_zoo.evaluate.finetuned_models import Run
from pointmae_zoo.evaluate.label_curve import label_curve
from pointmae_zoo.evaluate.linear import evaluate_linear, linear_probe
from pointmae_zoo.evaluate.part_segmentation import evaluate_parts
from pointmae_zoo.evaluate.robustness import evaluate_robustness
from pointmae_zoo.reports.comparison import compare, comparison_table
from pointmae_zoo.reports.report import LinearProbe, LinearReport
from pointmae_zoo.reports.score_report import ScoreReport
from pointmae_zoo.reports.scores import paired_difference

__all__ = [
    "LinearProbe",
    "LinearReport",
    "Run",
    "ScoreReport",
    "compare",
    "comparison_table",
    "evaluate_fewshot",
    "evaluate_finetuned",
    "evaluate_linear",
    "evaluate_parts",
    "evaluate_robustness",
    "label_curve",
    "linear_probe",
    "paired_difference",
]
