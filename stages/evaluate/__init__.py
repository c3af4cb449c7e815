"""Evaluation: a trained localizer on held-out people, beside the mean-pose baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.evaluate.settings import EvaluateSettings


def run(settings: EvaluateSettings) -> Mapping[str, Any]:
    """Evaluate a model; see `stages.evaluate.report.evaluate`. TensorFlow is imported here."""
    from stages.evaluate.report import evaluate

    return evaluate(settings)
