"""One pass over a store, block by block, then a closer look at a seeded sample of its pictures.

What is kept is counts, bounded samples, the worst suspects, and some 40 bytes per example by which
equal pictures and cameras are found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from cache.reader import Split, Store
from pipeline.schema import Kind
from stages.report import pictures
from stages.report.bones import asymmetries
from stages.report.checks import EXAMPLE_CHECKS
from stages.report.closeup import closeup_measures
from stages.report.diversity import pose_distances, pose_shapes
from stages.report.measures import column_measures
from stages.report.reference import Reference, fit_reference, is_3d, joint_columns
from stages.report.settings import ReportSettings
from stages.report.tally import Suspect, Tally
from stages.view.examples import skeleton_of
from stages.view.surface import BodyMesh

Floats = npt.NDArray[np.float64]

_EXTRA_QUANTITIES = (
    "box_side_px",
    "picture_side_px",
    "near_foot",
    "frontal_eyes",
    "lens_preferred",
)
_PICTURES_AT_A_TIME = 64


@dataclass
class Scan:
    """What was found in one store.

    Attributes:
        statuses: by split, how many rows have each status.
        validity: by joint, how many usable examples have it.
        n_usable: usable examples.
        tallies: by quantity.
        figures: of the whole dataset, by key of their check.
        suspects: of figures that no tally belongs to.
        bones: by edge, its name, median and the relative lengths of the reference examples.
        pose_distances: between pairs of reference examples.
        n_near_copies: of the decoded pictures, those that look like another one.
        sampled: how many examples were looked at closely: reference, masks, pictures.
    """

    reference: Reference
    statuses: dict[str, dict[str, int]] = field(default_factory=dict)
    validity: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    n_usable: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    suspects: dict[str, tuple[Suspect, ...]] = field(default_factory=dict)
    pose_distances: Floats = field(default_factory=lambda: np.zeros(0))
    n_near_copies: int = 0
    sampled: dict[str, int] = field(default_factory=dict)


def scan_store(store: Store, settings: ReportSettings, *, body: BodyMesh | None = None) -> Scan:
    """Measure a store.

    Args:
        body: tells the side of a dense dataset's surface points, if they are on it.

    Raises:
        StoreError: a shard is missing, cut or altered.
    """
    attributes = store.attributes
    kind, skeleton = Kind(attributes["kind"]), skeleton_of(attributes)
    places = [(split, row) for split in store.splits.values() for row in split.usable_rows.tolist()]
    rng = np.random.default_rng(settings.seed)
    order = rng.permutation(len(places))
    chosen = [places[i] for i in np.sort(order[: settings.reference_examples]).tolist()]
    columns = _gather(chosen, _reference_columns(kind))
    reference = fit_reference(columns, kind=kind, skeleton=skeleton)
    scan = Scan(reference, tallies=_tallies(settings))
    scan.validity = np.zeros(len(skeleton.joint_names), np.int64)
    scan.sampled["reference"] = len(chosen)
    _add_reference_figures(scan, columns)
    n_close = max(settings.mask_examples, settings.picture_examples)
    close = order[:n_close]
    with tqdm(
        total=len(places) + len(close), desc=store.path.stem, unit="examples", delay=0.5
    ) as bar:
        _scan_columns(store, scan, settings, bar)
        with_picture = {places[i] for i in close[: settings.picture_examples].tolist()}
        with_mask = [places[i] for i in np.sort(close).tolist()]
        _look_closely(with_mask, with_picture, scan, body, bar)
    scan.figures["rejected"] = _share_rejected(scan)
    n_usable = max(1, scan.n_usable)
    scan.figures["rarest_joint"] = float(scan.validity.min(initial=n_usable) / n_usable)
    for key in ("near_foot", "frontal_eyes"):
        name = "near_foot_lower" if key == "near_foot" else key
        scan.figures[name] = _mean_of_many(scan.tallies[key], least=60)
    scan.figures["lens_preference"] = _mean_of_many(scan.tallies["lens_preferred"], least=4)
    for key, quantity in (
        ("median_box_ratio", "box_ratio"),
        ("median_on_mask", "share_on_mask"),
        ("median_contrast", "outline_contrast"),
    ):
        scan.figures[key] = scan.tallies[quantity].percentile(50)
    return scan


def _tallies(settings: ReportSettings) -> dict[str, Tally]:
    bounds = settings.suspects
    found = {
        check.quantity: Tally(
            low=getattr(bounds, check.low) if check.low else None,
            high=getattr(bounds, check.high) if check.high else None,
            n_worst=settings.thumbnails,
            seed=settings.seed,
        )
        for check in EXAMPLE_CHECKS
    }
    return found | {name: Tally(n_worst=0, seed=settings.seed) for name in _EXTRA_QUANTITIES}


def _reference_columns(kind: Kind) -> list[str]:
    return [*joint_columns(kind), "bbox"]


def _column_names(kind: Kind) -> list[str]:
    shared = [*joint_columns(kind), "bbox", "intrinsics", "distortion", "mask_size", "mask_length"]
    return [*shared, "root_index"] if is_3d(kind) else shared


def _gather(places: list[tuple[Split, int]], names: list[str]) -> dict[str, npt.NDArray[Any]]:
    parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in names}
    for split in dict.fromkeys(split for split, _ in places):
        rows = [row for other, row in places if other is split]
        for name, values in split.gather(rows, names).items():
            parts[name].append(values)
    return (
        {name: np.concatenate(found) for name, found in parts.items()} if places else _none(names)
    )


def _none(names: list[str]) -> dict[str, npt.NDArray[Any]]:
    shapes = {"bbox": (0, 4)}
    return {name: np.zeros(shapes.get(name, (0, 0)), dtype=np.float32) for name in names}


def _add_reference_figures(scan: Scan, columns: Mapping[str, npt.NDArray[Any]]) -> None:
    reference = scan.reference
    spread = reference.bones.spread
    usual = reference.bones.length if reference.is_3d else reference.bones.ceiling
    uneven = asymmetries(usual[None], reference.twins)[0] if len(usual) else np.zeros(0)
    if reference.is_3d and np.isfinite(spread).any():
        scan.figures["bone_spread"] = float(np.nanmax(spread))
    if np.isfinite(uneven).any():
        scan.figures["asymmetry" if reference.is_3d else "asymmetry_2d"] = float(np.nanmax(uneven))
    joints, validity = (columns[name] for name in joint_columns(reference.kind))
    if len(joints):
        names = reference.skeleton.joint_names
        shapes = pose_shapes(joints, validity=validity, names=names)
        scan.pose_distances, _ = pose_distances(shapes)
    if len(scan.pose_distances) >= 100:
        scan.figures["pose_distance"] = float(np.median(scan.pose_distances))


def _scan_columns(store: Store, scan: Scan, settings: ReportSettings, bar: tqdm[Any]) -> None:
    status_names = {int(code): name for code, name in store.attributes["status_names"].items()}
    kind = scan.reference.kind
    contents, sources, splits, rows_seen, cameras = [], [], [], [], []
    for number, split in enumerate(store.splits.values()):
        counts = scan.statuses.setdefault(split.name, {})
        for start in range(0, len(split), settings.rows_per_block):
            stop = min(start + settings.rows_per_block, len(split))
            status = split.column("status", start, stop)
            for code, count in zip(*np.unique(status, return_counts=True), strict=True):
                name = status_names.get(int(code), f"status {code}")
                counts[name] = counts.get(name, 0) + int(count)
            rows = start + np.flatnonzero(status == 0)
            if not len(rows):
                continue
            columns = split.gather(rows, _column_names(kind))
            sizes, digests = _headers(split, rows, bar)
            _tally_block(scan, split.name, rows, columns, sizes)
            contents.append(digests)
            sources.append(pictures.digests_of(split.blobs("image_path", rows)))
            splits.append(np.full(len(rows), number, np.int64))
            rows_seen.append(rows)
            cameras.append(_camera_digests(columns))
    if scan.n_usable:
        _add_copies(
            scan,
            np.concatenate(contents),
            np.concatenate(sources),
            np.concatenate(splits),
            np.concatenate(rows_seen),
            names=list(store.splits),
        )
        matrices, lenses = zip(*cameras, strict=True)
        _add_half_used_lens(scan, np.concatenate(matrices), np.concatenate(lenses))


def _tally_block(
    scan: Scan,
    split: str,
    rows: npt.NDArray[np.int64],
    columns: Mapping[str, npt.NDArray[Any]],
    sizes: Floats,
) -> None:
    has_mask = columns["mask_length"] > 0
    mask_sizes = np.where(has_mask[:, None], columns["mask_size"][:, ::-1], np.nan)
    known = np.where(np.isfinite(sizes), sizes, mask_sizes)
    measured, notes = column_measures(columns, scan.reference, sizes=known)
    measured["mask_differs"] = np.abs(sizes - mask_sizes).max(axis=1)
    measured["picture_side_px"] = np.sqrt(sizes.prod(axis=1))
    for name, values in measured.items():
        scan.tallies[name].add(split, rows, values, notes=notes.get(name))
    scan.validity += columns[joint_columns(scan.reference.kind)[1]].sum(axis=0)
    scan.n_usable += len(rows)
    if np.isfinite(sizes).any():  # a store without pictures lacks no header
        missing = np.asarray(np.isnan(sizes).any(axis=1), np.float64)
        scan.tallies["header_missing"].add(split, rows, missing)


def _headers(
    split: Split, rows: npt.NDArray[np.int64], bar: tqdm[Any]
) -> tuple[Floats, pictures.Digests]:
    """Sizes (n, 2) by the pictures' headers, and digests (n,) of all their bytes."""
    sizes, digests = np.full((len(rows), 2), np.nan), np.zeros(len(rows), np.uint64)
    for start in range(0, len(rows), _PICTURES_AT_A_TIME):
        part = slice(start, start + _PICTURES_AT_A_TIME)
        blobs = split.blobs("image", rows[part])
        sizes[part] = [pictures.picture_size(blob) for blob in blobs]
        digests[part] = pictures.digests_of(blobs)
        bar.update(len(blobs))
    return sizes, digests


def _camera_digests(
    columns: Mapping[str, npt.NDArray[Any]],
) -> tuple[pictures.Digests, npt.NDArray[np.bool_]]:
    matrices = columns["intrinsics"]
    has_camera = matrices[:, 2, 2] != 0
    digests = pictures.digests_of([matrix.tobytes() for matrix in matrices])
    is_distorted: npt.NDArray[np.bool_] = np.any(columns["distortion"] != 0, axis=1)
    return np.where(has_camera, digests, np.uint64(0)), is_distorted


def _add_copies(
    scan: Scan,
    contents: pictures.Digests,
    sources: pictures.Digests,
    splits: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    *,
    names: list[str],
) -> None:
    if not contents.any():
        return
    is_copied, first = pictures.copies(contents, sources)
    is_shared = pictures.shared_between(contents, splits)
    for key, flags in (("duplicates", is_copied), ("shared_between_splits", is_shared)):
        scan.figures[key] = float(flags.mean())
        scan.suspects[key] = tuple(
            Suspect(
                names[splits[n]],
                int(rows[n]),
                1.0,
                f"same picture as {names[splits[first[n]]]}[{rows[first[n]]}]"
                if first[n] != n
                else "first of its copies",
            )
            for n in np.flatnonzero(flags)[:4].tolist()
        )


def _add_half_used_lens(
    scan: Scan, matrices: pictures.Digests, is_distorted: npt.NDArray[np.bool_]
) -> None:
    plain = ~is_distorted & (matrices != 0)
    if is_distorted.any() and plain.any():
        half = plain & np.isin(matrices, matrices[is_distorted])
        scan.figures["half_used_lens"] = float(half.sum() / plain.sum())


def _look_closely(
    places: list[tuple[Split, int]],
    with_picture: set[tuple[Split, int]],
    scan: Scan,
    body: BodyMesh | None,
    bar: tqdm[Any],
) -> None:
    bits = []
    scan.sampled |= {"masks": len(places), "pictures": len(with_picture)}
    for split, rows in _runs(places):
        decoded = [(split, row) in with_picture for row in rows]
        for row, found in closeup_measures(split, rows, decoded, scan.reference, body):
            for name, value in found.numbers.items():
                scan.tallies[name].add(split.name, np.array([row]), np.array([value]))
            if found.likeness is not None:
                bits.append(found.likeness)
        bar.update(len(rows))
    twins = pictures.near_copies(np.array(bits)) if bits else np.zeros(0)
    scan.n_near_copies = int((twins >= 0).sum())


def _runs(places: list[tuple[Split, int]]) -> Iterator[tuple[Split, list[int]]]:
    for split in dict.fromkeys(split for split, _ in places):
        rows = [row for other, row in places if other is split]
        for start in range(0, len(rows), _PICTURES_AT_A_TIME):
            yield split, rows[start : start + _PICTURES_AT_A_TIME]


def _share_rejected(scan: Scan) -> float:
    total = sum(sum(counts.values()) for counts in scan.statuses.values())
    return 1 - scan.n_usable / total if total else 0.0


def _mean_of_many(tally: Tally, *, least: int) -> float:
    """NaN from fewer examples than say something."""
    return float(tally.sample.mean()) if tally.n_measured >= least else float("nan")
