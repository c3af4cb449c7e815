"""The recipe's numbers are the published ones, and impossible ones are refused."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest

from errors import ConfigError
from stages.settings import PROJECT_ROOT, from_mapping
from stages.train.settings import (
    BatchSettings,
    CropSettings,
    FieldSettings,
    HeadSettings,
    LossSettings,
    NormSettings,
    OptimisationSettings,
    TrainSettings,
)


def test_a_step_takes_148_examples_of_1024_points() -> None:
    batch = BatchSettings()
    kinds = (
        batch.batch_size_parametric,
        batch.batch_size,
        batch.batch_size_densepose,
        batch.batch_size_2d,
    )
    assert kinds == (64, 32, 20, 32)
    assert batch.num_points == 1024
    assert (batch.weights_param["agora"], batch.weights_param["behave"]) == (10, 5)
    assert batch.weights_kp3d["mads_down"] == 2
    assert batch.weights_2d["coco_"] == 4
    assert batch.weights_dense["densepose_coco_"] == 14


def test_the_first_published_version_is_the_default() -> None:
    assert HeadSettings().min_projection_depth_m == 0.001
    assert HeadSettings().weak_perspective_steps == 500


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (LossSettings, {"beta_nll": 1.5}, "beta_nll"),
        (HeadSettings, {"proc_side": 250}, "multiple of the stride"),
        (HeadSettings, {"min_projection_depth_m": 0}, "min_projection_depth_m"),
        (CropSettings, {"full_rot_aug_prob": 2}, "full_rot_aug_prob"),
        (CropSettings, {"image_interpolation_test": "magic"}, "magic"),
        (OptimisationSettings, {"dtype": "float8"}, "float8"),
        (NormSettings, {"renorm_rmax": 0.5}, "renorm_rmax"),
        (FieldSettings, {"field_type": "bush"}, "bush"),
        (FieldSettings, {"field_fourier_dim": 33}, "even"),
        (BatchSettings, {"num_points": 1000}, "add up"),
        (BatchSettings, {"weights_2d": {"coco_": -1.0}}, "negative"),
    ],
)
def test_impossible_settings_are_refused(cls: type, values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(cls, values, where="train")


def test_a_misspelt_setting_is_an_error_that_knows_better() -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(TrainSettings, {"loss": {"charb_epsilon": 1.0}}, where="train")
    assert "charb_eps" in str(caught.value)


def test_settings_travel_to_other_processes() -> None:
    settings = TrainSettings(head=HeadSettings(proc_side=384))
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert copy.deepcopy(settings) == settings


def test_reading_settings_does_not_load_tensorflow() -> None:
    code = "import sys, stages.train.settings; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, check=True)
