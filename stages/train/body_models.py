"""Body models of the SMPL family, read from files that the user has, by smplfitter.

The folder holds one folder per model, named and filled as smplfitter expects it: `smpl`, `smplx`,
`smplh` or `smplh16`. A model that is not there is not used; its examples train their joints.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from errors import ConfigError
from stages.train.body_parameters import Variant
from stages.train.canonical_body import CanonicalBody
from stages.train.canonical_volume import points_in_volume, tetrahedralize

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]

# model: folders in order of preference, each with its files by gender.
_FILES: dict[str, dict[str, dict[str, str]]] = {
    "smpl": {
        "smpl": {
            gender: f"basicmodel_{short}_lbs_10_207_0_v1.1.0.pkl"
            for gender, short in (("neutral", "neutral"), ("female", "f"), ("male", "m"))
        }
    },
    "smplx": {
        "smplx": {gender: f"SMPLX_{gender.upper()}.npz" for gender in ("neutral", "female", "male")}
    },
    "smplh": {
        "smplh16": {gender: f"{gender}/model.npz" for gender in ("neutral", "female", "male")},
        "smplh": {gender: f"SMPLH_{gender}.pkl" for gender in ("female", "male")},
    },
}
# What the official files refer to. Unpickling anything else could run anything.
_HARMLESS = frozenset(
    {
        ("copy_reg", "_reconstructor"),
        ("copyreg", "_reconstructor"),
        ("__builtin__", "object"),
        ("builtins", "object"),
        ("_codecs", "encode"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        *(
            (f"numpy.{core}.multiarray", name)
            for core in ("core", "_core")
            for name in ("_reconstruct", "scalar")
        ),
        *((f"scipy.sparse{module}", "csc_matrix") for module in ("", ".csc", "._csc")),
        ("chumpy.ch", "Ch"),
        ("chumpy.reordering", "Select"),
    }
)
_POINTS_PER_BONE = 98
_N_INTERNAL = 2**17  # points drawn in the body once; a step takes a run of them


@dataclass(frozen=True, slots=True)
class BodyTopology:
    """What the models of one kind share, whatever the gender. K nodes: V vertices, then J joints.

    Attributes:
        nodes: float32 (K, 3), canonical places, metres.
        faces: int32 (F, 3), nodes.
        internal_nodes: int32 (Q, 8), the nodes on which each point inside depends.
        internal_weights: float32 (Q, 8), adding up to 1.
        n_joints: J.
    """

    nodes: Floats
    faces: Integers
    internal_nodes: Integers
    internal_weights: Floats
    n_joints: int

    @property
    def face_areas(self) -> npt.NDArray[np.float64]:
        """float64 (F,), canonical."""
        a, b, c = self.nodes[self.faces].astype(np.float64).transpose(1, 0, 2)
        return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)


@dataclass(frozen=True, slots=True)
class InstalledBody:
    """A model of one gender.

    Attributes:
        model: smplfitter's TensorFlow model.
        topology: shared with the other genders.
    """

    variant: Variant
    model: Any
    topology: BodyTopology


def installed_variants(folder: Path) -> Sequence[Variant]:
    """Which models and genders the folder holds.

    Raises:
        ConfigError: none at all.
    """
    found = [
        (name, gender)
        for name, places in _FILES.items()
        for gender in ("neutral", "female", "male")
        if any(
            (folder / place / files.get(gender, "-")).is_file() for place, files in places.items()
        )
    ]
    if not found:
        raise ConfigError(
            "there is no body model",
            where=str(folder),
            cause="it should hold folders such as smpl or smplx with the official files",
            next_command="set train.data.body_models, or leave it out to train from joints",
        )
    return found


def load_bodies(
    folder: Path, variants: Sequence[Variant], *, body: CanonicalBody, with_internal: bool
) -> Sequence[InstalledBody]:
    """Load models and place them in the canonical frame of `body`.

    A model's canonical shape is the mean shape of its neutral gender (or the first it has), in rest
    pose, moved so that its pelvis is the canonical body's.

    Args:
        variants: of `installed_variants`.
        with_internal: whether points inside will be asked for.

    Raises:
        ConfigError: a file is broken, or refers to what no body model needs.
    """
    topologies: dict[str, BodyTopology] = {}
    bodies = []
    for name, gender in variants:
        model = _load(folder, name, gender)
        if name not in topologies:
            topologies[name] = body_topology(
                model, pelvis=body.joints.get("pelv", np.zeros(3)), with_internal=with_internal
            )
        bodies.append(InstalledBody((name, gender), model, topologies[name]))
    return bodies


def body_topology(model: Any, *, pelvis: npt.ArrayLike, with_internal: bool) -> BodyTopology:
    """Canonical places of a model's vertices and joints, and points inside it.

    Points inside depend linearly on the corners of the Delaunay tetrahedron around them, of which
    the corners are vertices, joints and points on the bones; those on the bones again depend on
    the bones' two joints. (The published weights are natural-neighbour coordinates of the same
    corners, which are smoother and slower to come by.)
    """
    rest = model.single()
    vertices = np.asarray(rest["vertices"], np.float64)
    joints = np.asarray(rest["joints"], np.float64)
    shift = np.asarray(pelvis, np.float64) - joints[0]
    nodes = np.concatenate([vertices, joints]) + shift
    faces = np.asarray(model.faces, np.int32)
    n_vertices, n_joints = len(vertices), len(joints)
    internal_nodes = np.zeros((0, 8), np.int32)
    internal_weights = np.zeros((0, 8), np.float32)
    if with_internal:
        ends, shares = _bone_points([int(parent) for parent in model.kintree_parents])
        on_bones = np.einsum("bk,bkd->bd", shares, nodes[n_vertices + ends])
        extra = np.concatenate([nodes[n_vertices:], on_bones])
        mesh = tetrahedralize(
            nodes[:n_vertices], faces, n_inner=0, extra_nodes=extra, least_quality=1e-6
        )
        rng = np.random.default_rng(0)
        tetrahedra, weights = points_in_volume(mesh, _N_INTERNAL, rng)
        # Every corner as two nodes: itself twice, or a bone's ends.
        own = np.arange(n_vertices + n_joints)
        pairs = np.concatenate([np.stack([own, own], axis=1), n_vertices + ends])
        parts = np.concatenate([np.tile([1.0, 0.0], (len(own), 1)), shares])
        corners = mesh.tetrahedra[tetrahedra]
        internal_nodes = pairs[corners].reshape(-1, 8).astype(np.int32)
        internal_weights = (weights[..., np.newaxis] * parts[corners]).reshape(-1, 8)
    return BodyTopology(
        nodes.astype(np.float32),
        faces,
        internal_nodes,
        internal_weights.astype(np.float32),
        n_joints,
    )


def _bone_points(
    parents: Sequence[int],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Points between joints and their parents: both ends (B, 2), and their shares (B, 2)."""
    bones = np.array([(parents[i], i) for i in range(1, len(parents))], np.int64).reshape(-1, 2)
    along = np.linspace(0, 1, _POINTS_PER_BONE + 2)[1:-1]
    shares = np.stack([1 - along, along], axis=1)
    return np.repeat(bones, len(along), axis=0), np.tile(shares, (len(bones), 1))


def _load(folder: Path, name: str, gender: str) -> Any:
    from smplfitter.tf import BodyModel

    place, path = next(
        (place, folder / place / files[gender])
        for place, files in _FILES[name].items()
        if gender in files and (folder / place / files[gender]).is_file()
    )
    if path.suffix == ".pkl":
        _require_harmless(path)
    try:
        return BodyModel(model_name=place, gender=gender, model_root=str(folder / place))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pickle.PickleError) as error:
        raise ConfigError(
            f"the body model {name} ({gender}) cannot be read",
            where=str(path),
            cause=str(error).splitlines()[0] if str(error) else type(error).__name__,
            next_command="put the official file there, and its kid_template.npy beside it",
        ) from error


class _HarmlessOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return _Placeholder


class _Placeholder:
    """Takes whatever a pickle gives to a class."""

    def __new__(cls, *_: Any) -> _Placeholder:
        return object.__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def _require_harmless(path: Path) -> None:
    """Refuse a pickle that refers to more than arrays; the library would run whatever it says."""
    try:
        with path.open("rb") as file:
            _HarmlessOnly(file, encoding="latin1").load()
    except (pickle.PickleError, EOFError, ValueError, TypeError, KeyError, IndexError) as error:
        raise ConfigError(
            "the body model's file is not one",
            where=str(path),
            cause=str(error) or type(error).__name__,
            next_command="put the official file there",
        ) from error
