"""Evaluation: a trained localizer on held-out people, beside the mean-pose baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stages.train import require_model

if TYPE_CHECKING:
    from stages.evaluate.settings import EvaluateSettings


def run(settings: EvaluateSettings) -> Mapping[str, Any]:
    """Evaluate a model; see `stages.evaluate.report.evaluate`. TensorFlow is imported here."""
    require_model(settings.model / "model.keras")

    from stages.evaluate.report import evaluate

    return evaluate(settings)


def summary_lines(metrics: Mapping[str, Any]) -> list[str]:
    """What an evaluation found, a line per dataset and split, for people."""
    lines = []
    for dataset, splits in metrics["datasets"].items():
        for split, found in splits.items():
            if not isinstance(found, Mapping):
                lines.append(f"{dataset}: {found}")
                continue
            model, baseline = found["model"], found["baseline"]
            shown = ", ".join(
                f"{name} {model[name]:.1f} (mean pose {baseline[name]:.1f})"
                if name in baseline
                else f"{name} {model[name]:.1f}"
                for name in model
            )
            lines.append(f"{dataset} {split}: {shown}")
    for name, ratio in metrics["overall"].get("ratio", {}).items():
        lines.append(f"overall {name}: {ratio:.2f} of the mean pose's")
    return lines
