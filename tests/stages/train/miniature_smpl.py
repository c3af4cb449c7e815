"""A body-model file in the layout of SMPL's own, small and made up, and what it means in numpy."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.spatial.transform import Rotation

from tests.stages.train.solids import box_mesh

Floats = npt.NDArray[np.float64]

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
_NAMES = {"neutral": "neutral", "female": "f", "male": "m"}


def write_smpl(folder: Path, *, gender: str = "neutral", seed: int = 0) -> dict[str, Any]:
    """Write `smpl/basicmodel_..._v1.1.0.pkl` and its kid template below the folder.

    Returns:
        The model's arrays, for `pose_body`.
    """
    rng = np.random.default_rng(seed)
    vertices, faces = box_mesh((1.2, 1.7, 0.4), spacing=0.28)
    n, n_joints = len(vertices), len(PARENTS)
    # Regressors that average a few vertices put the joints inside the box.
    regressor = np.zeros((n_joints, n))
    for row in regressor:
        row[rng.choice(n, 5, replace=False)] = rng.dirichlet(np.ones(5))
    skin = np.exp(-8 * np.linalg.norm(vertices[:, None] - (regressor @ vertices)[None], axis=2))
    arrays: dict[str, Any] = {
        "v_template": vertices + np.array([0.01, -0.2, 0.02]),
        "shapedirs": rng.normal(0, 0.02, (n, 3, 10)),
        "posedirs": rng.normal(0, 0.01, (n, 3, 9 * (n_joints - 1))),
        "J_regressor": sparse.csc_matrix(regressor),
        "weights": skin / skin.sum(axis=1, keepdims=True),
        "f": faces.astype(np.uint32),
        "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], range(n_joints)], np.uint32),
    }
    place = folder / "smpl"
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"basicmodel_{_NAMES[gender]}_lbs_10_207_0_v1.1.0.pkl"
    path.write_bytes(pickle.dumps(arrays, protocol=2))
    kid = vertices * 0.6
    np.save(place / "kid_template.npy", kid)
    return {**arrays, "J_regressor": regressor, "kid_template": kid}


def pose_body(
    arrays: dict[str, Any],
    *,
    pose: Floats,
    shape: Floats,
    translation: Floats,
    kid_factor: float,
) -> tuple[Floats, Floats]:
    """Linear blend skinning as the SMPL paper writes it: vertices (V, 3) and joints (24, 3)."""
    template = arrays["v_template"]
    kid_direction = arrays["kid_template"] - arrays["kid_template"].mean(axis=0) - template
    shaped = template + arrays["shapedirs"] @ shape + kid_factor * kid_direction
    rest = arrays["J_regressor"] @ shaped
    turns = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix()
    bent = shaped + arrays["posedirs"] @ (turns[1:] - np.eye(3)).ravel()
    chain: list[Floats] = []
    for i, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3] = turns[i]
        local[:3, 3] = rest[i] - (rest[parent] if parent >= 0 else 0)
        chain.append(local if parent < 0 else chain[parent] @ local)
    joints = np.stack([frame[:3, 3] for frame in chain])
    relative = np.stack(chain)
    relative[:, :3, 3] -= np.einsum("jab,jb->ja", relative[:, :3, :3], rest)
    frames = np.einsum("vj,jab->vab", arrays["weights"], relative)
    homogeneous = np.concatenate([bent, np.ones((len(bent), 1))], axis=1)
    vertices = np.einsum("vab,vb->va", frames, homogeneous)[:, :3]
    return vertices + translation, joints + translation
