"""The evaluation of a model: per dataset and split, model beside baseline, numbers and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from cache.reader import Store
from errors import ConfigError
from stages.evaluate import scores
from stages.evaluate.baseline import centers, mean_pose, place
from stages.evaluate.drawings import (
    Drawn,
    draw_calibration,
    draw_joint_errors,
    draw_learning_curve,
    draw_sheet,
)
from stages.evaluate.predictions import (
    Predictions,
    Predictor,
    Truth,
    chosen_positions,
    concatenate,
    read_truth,
)
from stages.evaluate.settings import EvaluateSettings
from stages.train.augmentation import Scenery
from stages.train.canonical_body import CanonicalBody, load_canonical_body
from stages.train.examples import ExampleReader
from stages.train.export import load_localizer
from stages.train.model import LocalizerModel
from stages.train.sources import Source, StoreReader, open_source

COMPARED_3D = ("mpjpe_mm", "pa_mpjpe_mm")
COMPARED_2D = ("error_px",)


@dataclass(frozen=True, slots=True)
class SplitResult:
    """One dataset's split: its scores, and what the plots need."""

    dataset: str
    split_name: str
    metrics: Mapping[str, Any]
    joints: Sequence[Mapping[str, Any]]
    calibration: Sequence[Mapping[str, float]]
    drawn: Sequence[Drawn]


def evaluate(settings: EvaluateSettings) -> Mapping[str, Any]:
    """Evaluate a model on every held-out split and write what was found to `settings.out`.

    Writes `metrics.json`, `joints.json`, `calibration.json`, `learning_curve.png`, `joints.png`,
    `calibration.png` and `predictions.png`.

    Returns:
        The content of metrics.json.

    Raises:
        ConfigError: there is no model, or it does not know a dataset.
        StoreError: a store is missing or damaged.
    """
    stores = {name: Store.open(settings.stores / f"{name}.zarr") for name in settings.datasets}
    return evaluate_stores(settings, stores, load_canonical_body(settings.body))


def evaluate_stores(
    settings: EvaluateSettings, stores: Mapping[str, StoreReader], body: CanonicalBody
) -> Mapping[str, Any]:
    """`evaluate` on stores that are open already."""
    model = load_localizer(settings.model / "model.keras")
    predictor = Predictor(model)
    reader = ExampleReader(model.settings, Scenery())
    results: list[SplitResult] = []
    metrics: dict[str, Any] = {}
    for dataset, store in stores.items():
        if dataset not in model.table.datasets:
            raise ConfigError(
                f"the model does not know {dataset}'s joints",
                where=str(settings.model),
                cause="it was trained without this dataset",
                next_command="change evaluate.datasets, or train with it",
            )
        held_out: dict[str, Any] = {}
        for split_name in settings.splits:
            source = open_source(
                dataset,
                store,
                split_name=split_name,
                table=model.table,
                body=body,
                batch=model.settings.batch,
            )
            if not len(source):
                continue
            train = open_source(
                dataset,
                store,
                split_name="train",
                table=model.table,
                body=body,
                batch=model.settings.batch,
            )
            result = _evaluate_split(settings, model, predictor, reader, source, train, store)
            results.append(result)
            held_out[split_name] = result.metrics
        metrics[dataset] = held_out or {"held_out": "none: the dataset has only a train split"}
    summary = {"datasets": metrics, "overall": _overall(results)}
    _write(settings, results, summary)
    return summary


def _evaluate_split(
    settings: EvaluateSettings,
    model: LocalizerModel,
    predictor: Predictor,
    reader: ExampleReader,
    source: Source,
    train: Source,
    store: StoreReader,
) -> SplitResult:
    head = model.settings.head
    truth, predicted, pictures = _predict_source(settings, model, predictor, reader, source)
    reference, _ = _read_some(settings, reader, train, limit=2000)
    names = model.table.names[model.table.datasets.index(source.dataset)]
    is_3d = source.coords3d is not None
    joints: list[Mapping[str, Any]] = []
    curve: Sequence[Mapping[str, float]] = ()
    if is_3d:
        pose = mean_pose(reference.coords3d, reference.validity, reference.root_index)
        base = place(pose, centers(truth.coords3d, truth.validity, truth.root_index))
        errors = scores.root_relative_mm(truth, predicted.coords3d)
        base_errors = scores.root_relative_mm(truth, base)
        of_model = scores.scores_3d(truth, predicted.coords3d, head=head)
        of_base = {
            key: value
            for key, value in scores.scores_3d(truth, base, head=head).items()
            if key in COMPARED_3D
        }
        compared: tuple[str, ...] = COMPARED_3D
        curve = scores.calibration(predicted.uncert, errors, truth.validity)
        key = "mpjpe_mm"
    else:
        compared, key = COMPARED_2D, "error_px"
        errors = scores.pixel_distance(truth, predicted.coords2d, head=head)
        of_model = scores.scores_2d(truth, predicted.coords2d, head=head)
        base_errors, of_base = None, {}
        if source.joint_ids is not None:
            base = _mean_pixels(reference, truth)
            base_errors = scores.pixel_distance(truth, base, head=head)
            of_base = dict(scores.scores_2d(truth, base, head=head))
    if source.joint_ids is not None:
        mine = scores.by_joint(errors, truth.validity, names)
        theirs = {} if base_errors is None else scores.by_joint(base_errors, truth.validity, names)
        joints = [
            {"dataset": source.dataset, "split": source.split_name, "joint": name, key: value}
            | ({f"baseline_{key}": theirs[name]} if name in theirs else {})
            for name, value in mine.items()
        ]
    metrics: dict[str, Any] = {
        "examples": len(truth),
        "points": int(truth.validity.sum()),
        "model": of_model,
    }
    if of_base:
        metrics["baseline"] = of_base
        metrics["ratio"] = {name: of_model[name] / of_base[name] for name in compared}
    drawn = _drawn(settings, source, truth, predicted, pictures, errors, store)
    return SplitResult(source.dataset, source.split_name, metrics, joints, curve, drawn)


def _predict_source(
    settings: EvaluateSettings,
    model: LocalizerModel,
    predictor: Predictor,
    reader: ExampleReader,
    source: Source,
) -> tuple[Truth, Predictions, npt.NDArray[np.uint8]]:
    """All examples in batches; the pictures only of those that the sheet shows first."""
    positions = chosen_positions(source, settings.max_examples)
    truths, predictions, pictures = [], [], []
    shared = None if source.joint_ids is None else model.dataset_joints(source.dataset).numpy()
    starts = range(0, len(positions), settings.batch_size)
    for start in tqdm(starts, desc=f"evaluate {source.name}", unit="batch", leave=False):
        part = positions[start : start + settings.batch_size]
        truth, images = read_truth(source, part, reader, threads=settings.loader_threads)
        canonical = truth.canonical if shared is None else shared
        predictions.append(predictor(images, truth.intrinsics, canonical))
        truths.append(truth)
        pictures.append(images)
    joined = Truth(*(np.concatenate(a) for a in zip(*map(_fields, truths), strict=True)))
    return joined, concatenate(predictions), np.concatenate(pictures)


def _fields(truth: Truth) -> tuple[npt.NDArray[Any], ...]:
    return (
        truth.rows,
        truth.intrinsics,
        truth.coords3d,
        truth.coords2d,
        truth.canonical,
        truth.validity,
        truth.root_index,
    )


def _read_some(
    settings: EvaluateSettings, reader: ExampleReader, source: Source, *, limit: int
) -> tuple[Truth, npt.NDArray[np.uint8]]:
    positions = chosen_positions(source, limit)
    return read_truth(source, positions, reader, threads=settings.loader_threads)


def _mean_pixels(reference: Truth, truth: Truth) -> npt.NDArray[np.float32]:
    """The mean place of every joint in the crops of the train split, for every example."""
    weights = reference.validity[..., np.newaxis]
    total = (reference.coords2d * weights).sum(axis=0)
    mean = total / np.maximum(weights.sum(axis=0), 1)
    return np.broadcast_to(mean, truth.coords2d.shape).astype(np.float32)


def _overall(results: Sequence[SplitResult]) -> Mapping[str, Any]:
    """Means over all points of all 3D splits, and the ratio to the baseline's."""
    with_3d = [r.metrics for r in results if "mpjpe_mm" in r.metrics["model"]]
    if not with_3d:
        return {}
    points = np.array([m["points"] for m in with_3d], dtype=float)
    means = {
        who: {
            name: float(np.average([m[who][name] for m in with_3d], weights=points))
            for name in COMPARED_3D
        }
        for who in ("model", "baseline")
    }
    ratio = {name: means["model"][name] / means["baseline"][name] for name in COMPARED_3D}
    return {**means, "ratio": ratio}


def _drawn(
    settings: EvaluateSettings,
    source: Source,
    truth: Truth,
    predicted: Predictions,
    pictures: npt.NDArray[np.uint8],
    errors: npt.NDArray[np.float32],
    store: StoreReader,
) -> Sequence[Drawn]:
    """Evenly spaced from the best to the worst, so that nobody is tempted to choose."""
    if settings.sheet_examples == 0:
        return ()
    weights = truth.validity.astype(np.float32)
    mean = (errors * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)
    order = np.argsort(mean, kind="stable")
    quantiles = (np.arange(settings.sheet_examples) + 0.5) / settings.sheet_examples
    chosen = order[(quantiles * len(order)).astype(int)]
    unit = "px" if source.coords3d is None else "mm"
    edges = [] if source.joint_ids is None else store.attributes["edges"]
    return [
        Drawn(
            title=f"{source.name}:{truth.rows[i]}  {mean[i]:.0f} {unit}",
            picture=pictures[i],
            edges=tuple((int(a), int(b)) for a, b in edges),
            validity=truth.validity[i],
            predicted2d=predicted.coords2d[i],
            predicted3d=predicted.coords3d[i],
            true2d=_true_pixels(truth, i, is_3d=source.coords3d is not None),
            true3d=truth.coords3d[i] if source.coords3d is not None else None,
            root_index=int(truth.root_index[i]),
        )
        for i in chosen
    ]


def _true_pixels(truth: Truth, i: int, *, is_3d: bool) -> npt.NDArray[np.float32]:
    if not is_3d:
        return truth.coords2d[i]
    homogeneous = truth.coords3d[i] / np.maximum(truth.coords3d[i][:, 2:], 1e-3)
    pixels: npt.NDArray[np.float32] = homogeneous @ truth.intrinsics[i][:2].T
    return pixels


def _write(
    settings: EvaluateSettings, results: Sequence[SplitResult], summary: Mapping[str, Any]
) -> None:
    out = settings.out
    out.mkdir(parents=True, exist_ok=True)
    joints = [row for result in results for row in result.joints]
    calibration = [
        {"dataset": r.dataset, "split": r.split_name, **row}
        for r in results
        for row in r.calibration
    ]
    for name, content in (
        ("metrics.json", summary),
        ("joints.json", joints),
        ("calibration.json", calibration),
    ):
        text = json.dumps(content, indent=1, sort_keys=False)
        (out / name).write_text(text + "\n", encoding="utf-8")
    draw_learning_curve(settings.model / "curve" / "plots" / "metrics", out / "learning_curve.png")
    draw_joint_errors(joints, out / "joints.png")
    draw_calibration(calibration, out / "calibration.png")
    draw_sheet([drawn for r in results for drawn in r.drawn], out / "predictions.png")
