"""Random people in front of random cameras, as float64 arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """N examples of P points: truth, a noisy prediction, uncertainty, cameras, validity."""

    truth: Floats
    prediction: Floats
    uncert: Floats
    intrinsics: Floats
    validity: npt.NDArray[np.bool_]
    root_index: npt.NDArray[np.int32]
    pixels: Floats


def random_scene(
    seed: int, *, n_examples: int = 5, n_points: int = 30, depth_m: float = 4.0, noise: float = 0.1
) -> Scene:
    """People of human size around `depth_m` away; the last example has no valid point."""
    rng = np.random.default_rng(seed)
    center = rng.normal(size=(n_examples, 1, 3)) * [0.2, 0.2, 0.3] + [0, 0, depth_m]
    truth = center + rng.normal(size=(n_examples, n_points, 3)) * [0.3, 0.5, 0.2]
    intrinsics = np.zeros((n_examples, 3, 3))
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = rng.uniform(300, 500, n_examples) * depth_m / 4
    intrinsics[:, :2, 2] = rng.uniform(110, 140, (n_examples, 2))
    intrinsics[:, 2, 2] = 1
    validity = rng.random((n_examples, n_points)) < 0.7
    validity[:, 0] = True
    validity[-1] = False
    root_index = np.where(rng.random(n_examples) < 0.6, 0, -1).astype(np.int32)
    pixels = truth @ intrinsics.transpose(0, 2, 1)
    return Scene(
        truth=truth,
        prediction=truth + rng.normal(size=truth.shape) * noise,
        uncert=np.exp(rng.normal(size=truth.shape[:2])) * 0.1,
        intrinsics=intrinsics,
        validity=validity,
        root_index=root_index,
        pixels=pixels[..., :2] / pixels[..., 2:] + rng.normal(size=truth.shape)[..., :2],
    )
