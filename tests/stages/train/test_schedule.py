"""Learning rates and limits follow the published course."""

from __future__ import annotations

import numpy as np
import pytest

from errors import ConfigError
from stages.train.schedule import (
    backbone_learning_rate,
    learning_rate,
    renorm_limits,
    weight_decay_coefficient,
)
from stages.train.settings import NormSettings, OptimisationSettings

T = 100_000
SETTINGS = OptimisationSettings(training_steps=T)
BASE = SETTINGS.base_learning_rate


def test_the_rate_warms_up_falls_to_a_third_and_cools_down() -> None:
    rate = learning_rate([0, 500, 1000, 0.92 * T - 1, 0.92 * T, T], settings=SETTINGS)
    assert rate[0] == 0
    assert rate[1] == pytest.approx(BASE / 2)
    assert rate[2] == pytest.approx(BASE * (1 / 3) ** (1000 / 91000))
    assert rate[3] == pytest.approx(BASE / 3, rel=0.02)
    assert rate[4] == pytest.approx(BASE / 30)
    assert rate[5] == pytest.approx(BASE / 30 * 0.3)


def test_it_never_rises_after_the_warm_up() -> None:
    rates = learning_rate(np.arange(1000, T), settings=SETTINGS)
    assert (np.diff(rates) <= 0).all()


def test_the_field_factor_ends_with_the_main_phase() -> None:
    half, whole = (
        learning_rate([500, 50_000, 95_000], settings=SETTINGS, factor=factor)
        for factor in (0.5, 1.0)
    )
    np.testing.assert_allclose(half / whole, [0.5, 0.5, 1.0])


def test_a_finetuned_backbone_is_frozen_first_and_then_slow() -> None:
    rate = backbone_learning_rate([0, 2999, 4000, 5000, 95_000], settings=SETTINGS)
    np.testing.assert_allclose(rate[:4] / BASE, [0, 0, 0.075, 0.15])
    assert rate[4] == learning_rate(95_000, settings=SETTINGS)


def test_one_number_in_one_number_out() -> None:
    assert float(learning_rate(10, settings=SETTINGS)) == pytest.approx(BASE / 100)


def test_the_decay_of_a_whole_training_does_not_depend_on_its_length_alone() -> None:
    coefficient = weight_decay_coefficient(SETTINGS)
    assert coefficient * BASE == pytest.approx(0.003 / np.sqrt(T))


def test_renormalisation_is_let_loose_between_7500_and_17500_steps() -> None:
    rmax, dmax = renorm_limits([0, 7500, 12_500, 17_500, 10**6], settings=NormSettings())
    np.testing.assert_allclose(rmax, [1, 1, 2, 3, 3])
    np.testing.assert_allclose(dmax, [0, 0, 2.5, 5, 5])


def test_without_a_number_of_steps_there_is_no_schedule() -> None:
    with pytest.raises(ConfigError, match="training steps"):
        learning_rate(0, settings=OptimisationSettings())
