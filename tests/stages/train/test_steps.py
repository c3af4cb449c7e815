"""Every setting of the optimiser and of precision shows in the steps that are made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from stages.train.optimizer import SCALE_GROWTH_STEPS, Optimizer
from tests.stages.train.tiny_run import checkpoints_of, tiny_model, tiny_settings, train_tiny

# Keras 3.15 converts variables in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def float32_afterwards() -> Iterator[None]:
    yield
    keras.config.set_dtype_policy("float32")


def optimizer_with(tmp_path: Path, **changes: Any) -> Optimizer:
    settings = tiny_settings(tmp_path, {f"optimisation.{k}": v for k, v in changes.items()})
    return Optimizer(tiny_model(settings), settings.optimisation)


def values_of(optimizer: Optimizer) -> list[np.ndarray]:
    return [np.array(weight.numpy()) for weight in optimizer.weights]


def gradients_of(optimizer: Optimizer, *, seed: int) -> list[tf.Tensor]:
    rng = np.random.default_rng(seed)
    return [tf.constant(rng.normal(size=w.shape), tf.float32) for w in optimizer.weights]


def apply(optimizer: Optimizer, gradients: list[tf.Tensor], rate: float) -> None:
    optimizer.apply(gradients, rates=tf.fill([len(optimizer.groups)], rate))


def test_the_first_two_updates_are_adams_with_decoupled_decay(tmp_path: Path) -> None:
    optimizer = optimizer_with(tmp_path, constrain_kernel_norm=1e9)
    decay = 0.003 / np.sqrt(9) / 1e-3
    expected = [value.astype(np.float64) for value in values_of(optimizer)]
    m, v = ([np.zeros_like(value) for value in expected] for _ in range(2))
    for t in (1, 2):
        gradients = gradients_of(optimizer, seed=t)
        apply(optimizer, gradients, 0.01)
        for i, gradient in enumerate(gradients):
            g = gradient.numpy().astype(np.float64)
            m[i], v[i] = 0.9 * m[i] + 0.1 * g, 0.999 * v[i] + 0.001 * g**2
            if optimizer.slots[i].is_decayed:
                expected[i] -= expected[i] * decay * 0.01
            corrected = m[i] / (1 - 0.9**t), np.sqrt(v[i] / (1 - 0.999**t))
            expected[i] -= 0.01 * corrected[0] / (corrected[1] + 1e-8)
    for found, wanted in zip(values_of(optimizer), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-6)
    spared = {s.weight.path.split("/")[0] for s in optimizer.slots if not s.is_decayed}
    assert spared == {"field", "canonical_joints"}


def test_the_moving_average_follows_the_updates_and_replaces_the_weights(tmp_path: Path) -> None:
    optimizer = optimizer_with(tmp_path, ema_momentum=0.75)
    average: list[np.ndarray] | None = None
    for t in range(3):
        apply(optimizer, gradients_of(optimizer, seed=t), 0.01)
        now = values_of(optimizer)
        average = (
            now
            if average is None
            else [0.75 * a + 0.25 * n for a, n in zip(average, now, strict=True)]
        )
    optimizer.finish()
    assert average is not None
    for found, wanted in zip(values_of(optimizer), average, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


def test_micro_batches_count_as_one_by_their_mean(tmp_path: Path) -> None:
    optimizer = optimizer_with(tmp_path, grad_accum_steps=3)
    parts = [gradients_of(optimizer, seed=t) for t in range(3)]
    for part in parts[:2]:
        optimizer.accumulate(part)
    total = optimizer.total(parts[2], scale=tf.constant(2.0))
    for found, *terms in zip(total, *parts, strict=True):
        wanted = np.mean([term.numpy() for term in terms], axis=0) / 2
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    optimizer.finish_step(tf.constant(True))
    (again, *_) = optimizer.total(parts[0], scale=tf.constant(1.0))
    np.testing.assert_allclose(again, parts[0][0] / 3, rtol=1e-6)


@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_filters_are_brought_to_the_greatest_norm_at_the_constraint_rate(
    tmp_path: Path, rate: float
) -> None:
    optimizer = optimizer_with(tmp_path, constrain_kernel_norm=2.0, constraint_rate=rate)
    kernel = next(s.weight for s in optimizer.slots if s.weight.constraint is not None)
    kernel.assign(kernel * 1e3)
    before = np.linalg.norm(kernel.numpy(), axis=(0, 1)).reshape(-1)
    before = np.sqrt(np.square(kernel.numpy()).sum(axis=(0, 1, 2)))
    apply(optimizer, [tf.zeros_like(w.value) for w in optimizer.weights], 0.0)
    after = np.sqrt(np.square(kernel.numpy()).sum(axis=(0, 1, 2)))
    np.testing.assert_allclose(after, before + rate * (2.0 - before), rtol=1e-4)


def test_a_dynamic_scale_halves_after_overflow_and_doubles_after_many_good_steps(
    tmp_path: Path,
) -> None:
    optimizer = optimizer_with(tmp_path, dtype="float16", dynamic_loss_scale=True)
    assert float(optimizer.loss_scale) == 128
    optimizer.finish_step(tf.constant(False))
    assert float(optimizer.loss_scale) == 64
    for _ in range(SCALE_GROWTH_STEPS):
        optimizer.finish_step(tf.constant(True))
    assert float(optimizer.loss_scale) == 128
    for _ in range(10):
        optimizer.finish_step(tf.constant(False))
    assert float(optimizer.loss_scale) == 1 and not optimizer.may_skip


def run(tmp_path: Path, **changes: Any) -> list[Any]:
    """Checkpoints of every step of a run of four."""
    everywhere = {"optimisation.training_steps": 4, "optimisation.checkpoint_period": 1}
    kept = {"optimisation.checkpoints_kept": 9}
    named = {name.replace("__", "."): value for name, value in changes.items()}
    train_tiny(tmp_path, {**everywhere, **kept, **named})
    return checkpoints_of(tmp_path)


def moved(one: Any, other: Any, part: str) -> bool:
    """Whether any weight of a part differs between two checkpoints."""
    names = [name for name in one.arrays if name.startswith("model/") and part in name]
    assert names
    return any(not np.array_equal(one.arrays[n], other.arrays[n]) for n in names)


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.allclose(one, other, rtol=1e-5, atol=1e-7))


def test_a_run_with_a_frozen_backbone_moving_average_and_validation(tmp_path: Path) -> None:
    checkpoints = run(
        tmp_path,
        optimisation__dual_finetune_lr=True,
        optimisation__backbone_frozen_steps=2,
        optimisation__backbone_warmup_steps=1,
        optimisation__ema_momentum=0.5,
        optimisation__validate_period=2,
        optimisation__finetune_in_inference_mode=2,
        norm__batch_renorm=False,
        batch__batch_size_test=5,
    )
    assert [c.step for c in checkpoints] == [1, 2, 3, 4]
    first, second, third, fourth = checkpoints
    # Convolution kernels stand still for two steps; the field moves.
    convolutions = [n for n in first.arrays if n.startswith("model/") and first.arrays[n].ndim == 4]
    frozen = [n for n in convolutions if "kernel" in n][:-1]  # the last is the link layer's
    assert frozen
    # But for the rounding of the max-norm, which divides by the norm and multiplies again.
    assert all(_close(first.arrays[n], third.arrays[n]) for n in frozen)
    assert any(not _close(third.arrays[n], fourth.arrays[n]) for n in frozen)
    assert moved(first, second, "bias")
    # The last two steps run the network as at inference.
    assert moved(first, second, "moving_mean")
    assert not moved(second, fourth, "moving_mean")
    rows = {row["step"]: row for row in fourth.record["curve"]}
    assert set(rows) == {2, 4}
    assert 0 < rows[4]["valid_mean_error_mm"] < 5000 and "valid_pck_percent" in rows[4]
    # What was saved at the end is the average, which the checkpoint holds beside the weights.
    saved = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    averages = [
        v for n, v in fourth.arrays.items() if n.startswith("optimizer/") and "average" in n
    ]
    assert len(averages) == len(saved.trainable_variables)
    for weight, average in zip(saved.trainable_variables, averages, strict=True):
        np.testing.assert_array_equal(weight.numpy(), average)
    events = list((tmp_path / "tensorboard").glob("events.*"))
    assert events and (tmp_path / "curve" / "plots").is_dir()


def test_steps_of_two_micro_batches_in_half_precision_learn_on_a_processor_too(
    tmp_path: Path,
) -> None:
    checkpoints = run(
        tmp_path,
        optimisation__dtype="bfloat16",
        optimisation__grad_accum_steps=2,
        batch__batch_size=2,
        batch__batch_size_densepose=2,
        batch__batch_size_2d=2,
    )
    assert keras.config.dtype_policy().compute_dtype == "bfloat16"
    assert moved(checkpoints[0], checkpoints[3], "kernel")
    (row,) = checkpoints[-1].record["curve"]
    assert np.isfinite(list(row.values())).all() and row["gradient_norm"] > 0
    assert {a.dtype for n, a in checkpoints[0].arrays.items() if "kernel" in n} == {
        np.dtype(np.float32)
    }


def test_float16_halves_a_scale_that_overflows_and_loses_steps_not_the_run(tmp_path: Path) -> None:
    checkpoints = run(
        tmp_path,
        optimisation__training_steps=8,
        optimisation__dtype="float16",
        optimisation__dynamic_loss_scale=True,
        optimisation__loss_scale=2.0**18,
    )
    assert keras.config.dtype_policy().compute_dtype == "float16"
    scales = [c.arrays["optimizer/0001/loss_scale:0"] for c in checkpoints]
    assert scales[0] < 2.0**18  # float16 ends at 65504
    assert scales[-1] >= 1 and moved(checkpoints[0], checkpoints[-1], "kernel")
