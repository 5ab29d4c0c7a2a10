"""Scores of frozen features and of fine-tuned networks: numbers that can be believed."""

from pointmae_zoo.evaluate.compare import compare, comparison_table
from pointmae_zoo.evaluate.fewshot_evaluation import evaluate_fewshot
from pointmae_zoo.evaluate.finetuned import evaluate_finetuned
from pointmae_zoo.evaluate.label_curve import label_curve
from pointmae_zoo.evaluate.linear import LinearProbe, linear_probe, paired_difference
from pointmae_zoo.evaluate.linear_evaluation import evaluate_linear
from pointmae_zoo.evaluate.parts import evaluate_parts
from pointmae_zoo.evaluate.report import LinearReport
from pointmae_zoo.evaluate.robustness_evaluation import evaluate_robustness
from pointmae_zoo.evaluate.runs import Run
from pointmae_zoo.evaluate.score_report import ScoreReport

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
