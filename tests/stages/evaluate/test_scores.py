"""Scores by joint, and uncertainty that means the error to be expected."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from stages.evaluate.scores import by_joint, calibration
from stages.train.losses import robust_norm
from stages.train.metrics import expected_error_factor
from stages.train.settings import LossSettings


@pytest.mark.parametrize("is_fixed", [False, True])
def test_the_loss_is_least_where_the_reported_uncertainty_is_the_error(is_fixed: bool) -> None:
    loss = LossSettings(beta_nll=0.0, fix_uncert_factor=is_fixed)
    residual = np.array([0.03, -0.1, 0.07], np.float32)
    candidates = np.geomspace(0.01, 1, 2001).astype(np.float32)
    x = tf.constant(np.tile(residual, (len(candidates), 1)))
    values = robust_norm(x, tf.constant(candidates), settings=loss).numpy()
    best = candidates[values.argmin()] * expected_error_factor(loss)
    assert best == pytest.approx(np.linalg.norm(residual), rel=0.01)


def test_bins_of_equal_size_hold_what_was_expected_and_what_came() -> None:
    rng = np.random.default_rng(0)
    uncert = rng.uniform(0.01, 0.3, (50, 4)).astype(np.float32)
    validity = rng.random((50, 4)) < 0.5
    errors = np.where(validity, 2000 * uncert, 1e9).astype(np.float32)
    rows = calibration(uncert, errors, validity, n_bins=7)
    assert sum(row["points"] for row in rows) == validity.sum()
    expected = [row["expected_mm"] for row in rows]
    assert expected == sorted(expected)
    for row in rows:
        assert row["actual_mm"] == pytest.approx(2 * row["expected_mm"], rel=1e-4)


def test_a_joint_is_averaged_over_those_who_have_it() -> None:
    errors = np.array([[1, 5, 7], [3, 6, 8]], np.float32)
    validity = np.array([[True, True, False], [True, False, False]])
    assert by_joint(errors, validity, ("pelv", "neck", "head")) == {"pelv": 2.0, "neck": 5.0}
