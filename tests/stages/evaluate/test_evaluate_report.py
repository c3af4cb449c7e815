"""A trained model is evaluated on what was held out, and what has nothing held out is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from errors import ConfigError
from stages.evaluate.report import evaluate_stores
from stages.evaluate.settings import EvaluateSettings
from tests.stages.train.stick_figures import canonical_body, stick_stores
from tests.stages.train.tiny_run import tiny_model, tiny_settings

# Keras 3.15 converts variables in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

DATASETS = ("agora", "behave", "mads", "coco", "densepose_coco")


def test_everything_is_written_and_the_ratio_is_that_of_the_numbers(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    tiny_model(tiny_settings(tmp_path / "model")).save(tmp_path / "model" / "model.keras")
    settings = EvaluateSettings(
        model=tmp_path / "model",
        out=tmp_path / "out",
        splits=("test", "valid"),
        batch_size=5,
        sheet_examples=1,
        loader_threads=1,
    )
    metrics = evaluate_stores(settings, stick_stores(), canonical_body())
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == metrics
    assert set(metrics["datasets"]) == set(DATASETS)
    agora = metrics["datasets"]["agora"]
    assert set(agora) == {"valid"}  # its test split is empty
    scores = agora["valid"]
    for name in ("mpjpe_mm", "pa_mpjpe_mm"):
        ratio = scores["model"][name] / scores["baseline"][name]
        assert scores["ratio"][name] == pytest.approx(ratio)
        assert np.isfinite(scores["model"][name])
    assert "error_px" in metrics["datasets"]["densepose_coco"]["valid"]["model"]
    for name in ("joints.json", "calibration.json", "joints.png", "predictions.png"):
        assert (tmp_path / "out" / name).stat().st_size > 100

    only_train = EvaluateSettings(
        model=tmp_path / "model", out=tmp_path / "none", splits=("test",), loader_threads=1
    )
    nothing = evaluate_stores(only_train, stick_stores(), canonical_body())
    assert "none" in nothing["datasets"]["mads"]["held_out"]


def test_without_a_model_the_error_says_what_to_do(tmp_path: Path) -> None:
    settings = EvaluateSettings(model=tmp_path, out=tmp_path)
    with pytest.raises(ConfigError, match="no trained model") as caught:
        evaluate_stores(settings, stick_stores(), canonical_body())
    assert "cli.py train" in str(caught.value)
