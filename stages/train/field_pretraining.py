"""The field's beginning: its features fitted to the eigenfunctions of the canonical body.

Both the eigenfunctions and the fit are kept beside the model, by the digest of what they come from:
a run that is resumed or repeated takes them from there.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

from stages.train.canonical_body import CanonicalBody
from stages.train.canonical_volume import (
    Eigenbasis,
    TetrahedralMesh,
    eigenfunctions,
    largest_component,
    tetrahedralize,
)
from stages.train.point_field import PointField
from stages.train.settings import FieldSettings

Tensors = list[tf.Tensor]


def canonical_eigenbasis(body: CanonicalBody, field: FieldSettings, *, folder: Path) -> Eigenbasis:
    """The lowest `field_posenc_dim` eigenfunctions of the body's volume, from `folder` if there.

    Raises:
        ConfigError: the body's mesh encloses no volume, or too small a one for so many.
    """
    places = body.vertices.tobytes() + body.faces.tobytes()
    recipe = [field.field_posenc_dim, field.lbo_inner_nodes]
    path = folder / f"eigenfunctions-{_digest(recipe, places)}.npz"
    stored = _load(path)
    if stored is not None:
        mesh = TetrahedralMesh(stored["nodes"], stored["tetrahedra"])
        return Eigenbasis(mesh, stored["eigenvalues"], stored["values"])
    tqdm.write(f"computing {field.field_posenc_dim} eigenfunctions of the canonical body")
    mesh = largest_component(
        tetrahedralize(body.vertices, body.faces, n_inner=field.lbo_inner_nodes)
    )
    basis = eigenfunctions(mesh, field.field_posenc_dim)
    _save(
        path,
        {
            "nodes": mesh.nodes,
            "tetrahedra": mesh.tetrahedra,
            "eigenvalues": basis.eigenvalues,
            "values": basis.values,
        },
    )
    return basis


def pretrain_field(
    field: PointField, basis: Eigenbasis, *, seed: int, folder: Path | None = None
) -> float:
    """Fit the features of a gps field to the eigenfunctions, in place.

    Regression on points drawn evenly in the volume: mean squared error, Adam, learning rate from
    `lbo_pretrain_learning_rate` to 0 along a cosine.

    Args:
        field: a built field of type gps.
        basis: what its features shall be.
        seed: of the points.
        folder: where fits are kept; None: nowhere.

    Returns:
        The mean squared error that is left, as a share of the eigenfunctions' mean square.
    """
    path = None
    if folder is not None:
        beginning = b"".join(weight.tobytes() for weight in field.encoding.get_weights())
        recipe = [
            seed,
            field.settings.lbo_pretrain_steps,
            field.settings.lbo_pretrain_batch,
            field.settings.lbo_pretrain_learning_rate,
            field.settings.query_float16,
            str(field.encoding.dtype_policy.name),
        ]
        path = folder / f"field-{_digest(recipe, beginning + basis.values.tobytes())}.npz"
        stored = _load(path)
        if stored is not None:
            n_weights = len(field.encoding.get_weights())
            field.encoding.set_weights([stored[f"weight{i}"] for i in range(n_weights)])
            return float(stored["error"])
    error = _fit(field, basis, seed=seed)
    if path is not None:
        weights = {f"weight{i}": w for i, w in enumerate(field.encoding.get_weights())}
        _save(path, {**weights, "error": np.asarray(error)})
    return error


def _fit(field: PointField, basis: Eigenbasis, *, seed: int) -> float:
    settings = field.settings
    n_steps, batch = settings.lbo_pretrain_steps, settings.lbo_pretrain_batch
    shares = np.cumsum(basis.mesh.volumes)
    shares = tf.constant(shares / shares[-1], tf.float32)
    nodes = tf.constant(basis.mesh.nodes, tf.float32)
    values = tf.constant(basis.values, tf.float32)
    tetrahedra = tf.constant(basis.mesh.tetrahedra)

    def draw(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seeds = tf.stack([tf.constant(seed, tf.int64), step])
        draws = tf.random.stateless_uniform([batch, 5], seeds, 1e-7, 1.0)
        chosen = tf.minimum(tf.searchsorted(shares, draws[:, 0]), len(basis.mesh.tetrahedra) - 1)
        corners = tf.gather(tetrahedra, chosen)
        # Normalised exponential numbers are spread evenly over a simplex.
        weights = -tf.math.log(draws[:, 1:])
        weights = (weights / tf.reduce_sum(weights, axis=1, keepdims=True))[..., tf.newaxis]
        return (
            tf.reduce_sum(tf.gather(nodes, corners) * weights, axis=1),
            tf.reduce_sum(tf.gather(values, corners) * weights, axis=1),
        )

    def relative_error(weights: Tensors, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        points, truth = draw(step)
        found = _features(weights, field.normalize(points))
        error = tf.reduce_mean(tf.square(found - truth))
        return error, error / tf.reduce_mean(tf.square(truth))

    @tf.function(autograph=False, reduce_retracing=True)
    def fit_step(state: tuple[Tensors, Tensors, Tensors], step: tf.Tensor) -> tuple[Tensors, ...]:
        weights, means, squares = state
        with tf.GradientTape() as tape:
            tape.watch(weights)
            error, _ = relative_error(weights, step)
        gradients = tape.gradient(error, weights)
        progress = tf.cast(step, tf.float32) / n_steps
        rate = settings.lbo_pretrain_learning_rate * (1 + tf.cos(math.pi * progress)) / 2
        return _adam(weights, means, squares, gradients, step=step, rate=rate)

    # Tensors, not variables: on several devices each then fits for itself, and all fit the same.
    weights = [tf.constant(weight, tf.float32) for weight in field.encoding.get_weights()]
    state = (weights, [tf.zeros_like(w) for w in weights], [tf.zeros_like(w) for w in weights])
    for step in tqdm(range(n_steps), desc="field", unit="step", dynamic_ncols=True):
        state = fit_step(state, tf.constant(step, tf.int64))
    last = [relative_error(state[0], tf.constant(n_steps + i, tf.int64))[1] for i in range(4)]
    field.encoding.set_weights([weight.numpy() for weight in state[0]])
    return float(tf.reduce_mean(last))


def _features(weights: Tensors, x: tf.Tensor) -> tf.Tensor:
    """What `point_field.Eigenfunctions` computes, in float32, from weights that are arguments."""
    frequencies, kernel, bias, out_kernel, out_bias = weights
    phase = tf.matmul(x, frequencies)
    waves = tf.sin(tf.concat([phase, phase + math.pi / 2], axis=-1)) / math.sqrt(kernel.shape[0])
    hidden = tf.nn.gelu(tf.matmul(waves, kernel) + bias, approximate=False)
    return tf.matmul(hidden, out_kernel) + out_bias


def _adam(
    weights: Tensors,
    means: Tensors,
    squares: Tensors,
    gradients: Tensors,
    *,
    step: tf.Tensor,
    rate: tf.Tensor,
) -> tuple[Tensors, Tensors, Tensors]:
    """One step of Adam with its usual constants."""
    t = tf.cast(step + 1, tf.float32)
    scale = rate * tf.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    means = [m + 0.1 * (g - m) for m, g in zip(means, gradients, strict=True)]
    squares = [v + 0.001 * (g * g - v) for v, g in zip(squares, gradients, strict=True)]
    moved = [
        w - scale * m / (tf.sqrt(v) + 1e-7) for w, m, v in zip(weights, means, squares, strict=True)
    ]
    return moved, means, squares


def _digest(recipe: list[Any], content: bytes) -> str:
    return hashlib.sha256(json.dumps(recipe).encode() + content).hexdigest()[:16]


def _load(path: Path) -> Mapping[str, npt.NDArray[Any]] | None:
    """What `_save` wrote; None where there is nothing, or what a killed or full disk left."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        tqdm.write(f"{path} is damaged and is computed anew")
        return None


def _save(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.npz")  # several workers may write the same
    np.savez(temporary, allow_pickle=False, **arrays)
    temporary.replace(path)
