"""Body parameters of a store become the points that the body model's own formula gives."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from errors import ConfigError
from pipeline.schema import BODY_MODELS, GENDERS, Kind
from stages.train.augmentation import Scenery
from stages.train.body_models import installed_variants, load_bodies
from stages.train.body_parameters import (
    SHAPE_WIDTH,
    BodyParameters,
    body_rows,
    read_body_parameters,
    variant_of,
)
from stages.train.body_supervision import BodyPoints, Fillers, query_weights, slot_shares, unpacked
from stages.train.canonical_body import CanonicalBody, joint_table
from stages.train.examples import ExampleReader
from stages.train.launch import initial_model, launch_on, open_sources, query_points
from stages.train.loader import training_stream
from stages.train.model import LocalizerModel
from stages.train.settings import BatchSettings, TrainSettings
from stages.train.supervision import step_losses
from tests.stages.train.miniature_smpl import pose_body, write_smpl
from tests.stages.train.solids import box_mesh
from tests.stages.train.stick_figures import (
    PLACES,
    StickSplit,
    StickStore,
    canonical_body,
    stick_stores,
)
from tests.stages.train.tiny_run import tiny_settings, use_quick_network

BATCH = BatchSettings(num_points=64, num_surface_points=38, num_internal_points=26)
N = 7


class Columns:
    """A split with body columns, as agora's store has them."""

    def __init__(self, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        models = np.array([1, 1, 1, 0, 1, 3, 1], np.uint8)  # of two examples no smpl
        turns = np.linalg.qr(rng.normal(size=(N, 3, 3)))[0]
        turns *= np.linalg.det(turns)[:, None, None]
        offsets = rng.normal(size=(N, 3, 1)) + np.array([[0], [0], [5]])
        pose = np.zeros((N, 165), np.float32)
        pose[:, :72] = rng.normal(0, 0.4, (N, 72))
        self.columns: dict[str, Any] = {
            "body_model": models,
            "body_gender": np.array([1, 2, 0, 0, 2, 1, 1], np.uint8),
            "body_pose": pose,
            "body_shape": rng.normal(size=(N, 10)).astype(np.float32),
            "body_translation": rng.normal(0, 3, (N, 3)).astype(np.float32),
            "body_kid_factor": np.array([0, 0, 0.4, 0, 0.1, 0, 0], np.float32),
            "body_scale": np.array([1, 1, 1, 1, 1.3, 1, 1], np.float32),
            "extrinsics": np.concatenate([turns, offsets], axis=2).astype(np.float32),
        }

    def column(self, name: str) -> Any:
        return self.columns[name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bodies")


@pytest.fixture(scope="module")
def models(folder: Path) -> dict[str, dict[str, Any]]:
    return {g: write_smpl(folder, gender=g, seed=i) for i, g in enumerate(("neutral", "female"))}


@pytest.fixture(scope="module")
def body() -> CanonicalBody:
    vertices, faces = box_mesh((1.0, 1.6, 0.4), spacing=0.3)
    pelvis = {"pelv": np.array([0.0, 0.1, 0.0], np.float32)}
    return CanonicalBody(vertices.astype(np.float32), faces, pelvis)


@pytest.fixture(scope="module")
def points(folder: Path, models: Any, body: CanonicalBody) -> BodyPoints:
    variants = installed_variants(folder)
    bodies = load_bodies(folder, variants, body=body, with_internal=True)
    return BodyPoints(bodies, batch=BATCH)


def parameters(folder: Path, **options: Any) -> BodyParameters:
    found = read_body_parameters(
        Columns(),
        np.arange(N),
        **{"dataset": "agora", "variants": installed_variants(folder), **options},
    )
    assert found is not None
    return found


def device_batch(folder: Path, turn: Any, **options: Any) -> dict[str, tf.Tensor]:
    return unpacked(tf.constant(body_rows(parameters(folder, **options), np.arange(N), turn=turn)))


def test_a_store_s_parameters_become_points_in_the_camera_frame(
    folder: Path, models: dict[str, Any], points: BodyPoints
) -> None:
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(N, 3, 3)))[0]
    batch = device_batch(folder, turn)
    found = points(batch, seed=1, step=tf.constant(3, tf.int64))
    assert found.has_body.numpy().tolist() == [True, True, True, False, True, False, True]
    columns = Columns().columns
    for i in np.flatnonzero(found.has_body):
        gender = "female" if columns["body_gender"][i] == 2 else "neutral"
        vertices, joints = pose_body(
            models[gender],
            pose=columns["body_pose"][i, :72].astype(float),
            shape=columns["body_shape"][i].astype(float),
            translation=columns["body_translation"][i].astype(float),
            kid_factor=float(columns["body_kid_factor"][i]),
        )
        nodes = np.concatenate([vertices, joints]) * columns["body_scale"][i]
        extrinsics = columns["extrinsics"][i].astype(float)
        in_camera = (nodes @ extrinsics[:, :3].T + extrinsics[:, 3]) @ turn[i].T
        np.testing.assert_allclose(found.coords3d[i, -24:], in_camera[-24:], atol=2e-5)

        # The other slots: the same combination of the same nodes, wherever these are.
        topology = points._bodies[0].topology
        rest, posed = topology.nodes, in_camera
        weights = _weights_by_place(points, i)
        np.testing.assert_allclose(
            found.coords3d[i], np.einsum("pk,pkd->pd", weights[1], posed[weights[0]]), atol=2e-5
        )
        np.testing.assert_allclose(
            found.canonical[i], np.einsum("pk,pkd->pd", weights[1], rest[weights[0]]), atol=2e-5
        )
    assert found.root_index.numpy()[0] == BATCH.num_points - 24
    assert found.validity.numpy()[found.has_body.numpy()].all()


def _weights_by_place(points: BodyPoints, i: int) -> tuple[np.ndarray, np.ndarray]:
    from stages.train.body_supervision import _uniform

    step = tf.constant(3, tf.int64)
    shares = slot_shares(BATCH, n_joints=24)
    draws = _uniform([N, shares.n_surface, 3], "surface", seed=1, step=step)[i : i + 1]
    starts = _uniform([N], "internal", seed=1, step=step)[i : i + 1]
    found = query_weights(points._bodies[0].topology, shares, draws=draws, starts=starts)
    return found[0][0].numpy(), found[1][0].numpy()


def test_slots_are_shared_out_as_published() -> None:
    shares = slot_shares(BatchSettings(), n_joints=55)
    assert (shares.n_surface, shares.n_internal, shares.n_joints) == (640 - 28, 384 - 27, 55)
    assert slot_shares(BATCH, n_joints=24).n_surface == 38 - 12
    with pytest.raises(ConfigError, match="too few"):
        slot_shares(BATCH, n_joints=55)


def test_surface_slots_lie_on_the_surface_inner_ones_inside_joints_last(
    points: BodyPoints, folder: Path
) -> None:
    found = points(device_batch(folder, np.eye(3)[None]), seed=1, step=tf.constant(0, tf.int64))
    topology = points._bodies[0].topology
    low, high = topology.nodes[:-24].min(axis=0), topology.nodes[:-24].max(axis=0)
    canonical = found.canonical.numpy()[0]
    edge = np.minimum(canonical - low, high - canonical).min(axis=1)
    np.testing.assert_allclose(edge[:26], 0, atol=1e-5)
    assert (edge[26:40] > 1e-4).all()
    np.testing.assert_allclose(canonical[40:], topology.nodes[-24:])
    np.testing.assert_allclose(topology.nodes[-24], [0, 0.1, 0], atol=1e-6)  # the body's pelvis
    np.testing.assert_allclose(topology.internal_weights.sum(axis=1), 1, atol=1e-5)


def test_the_same_step_draws_the_same_and_parts_draw_like_the_whole(
    points: BodyPoints, folder: Path
) -> None:
    batch = device_batch(folder, np.eye(3)[None])
    step = tf.constant(9, tf.int64)
    whole = points(batch, seed=1, step=step)
    again = points(batch, seed=1, step=step)
    later = points(batch, seed=1, step=step + 1)
    np.testing.assert_array_equal(whole.coords3d, again.coords3d)
    assert np.abs(whole.canonical - later.canonical).max() > 0.1
    slots = tf.constant([4, 6])
    part = {name: tf.gather(values, slots) for name, values in batch.items()}
    some = points(part, seed=1, step=step, slots=slots, n_drawn=N)
    np.testing.assert_allclose(some.coords3d, tf.gather(whole.coords3d, slots), atol=1e-5)


def test_posing_works_in_a_graph_and_lets_no_gradient_through(
    points: BodyPoints, folder: Path
) -> None:
    batch = device_batch(folder, np.eye(3)[None])
    eager = points(batch, seed=1, step=tf.constant(2, tf.int64))

    @tf.function(autograph=False)
    def pose(batch: Any, step: Any) -> Any:
        return tuple(points(batch, seed=1, step=step))

    compiled = pose(batch, tf.constant(2, tf.int64))
    np.testing.assert_allclose(compiled[2], eager.coords3d, atol=1e-5)
    with tf.GradientTape() as tape:
        tape.watch(batch["body_pose"])
        found = points(batch, seed=1, step=tf.constant(2, tf.int64))
    assert tape.gradient(found.coords3d, batch["body_pose"]) is None


def test_of_an_unreliable_surface_only_joints_are_trained(points: BodyPoints, folder: Path) -> None:
    batch = device_batch(folder, np.eye(3)[None], dataset="humman")
    found = points(batch, seed=1, step=tf.constant(0, tf.int64))
    np.testing.assert_array_equal(found.validity[0], np.arange(64) >= 40)


def test_an_example_is_posed_by_the_model_that_it_names() -> None:
    variants = [("smpl", "neutral"), ("smpl", "male")]
    names = [("smpl", "male"), ("smpl", "unknown"), ("smpl", "female"), ("smplx", "male")]
    codes = [
        (BODY_MODELS.index(model), GENDERS.index(gender))
        for model, gender in (*names, ("none",) * 2)
        if gender in GENDERS
    ]
    found = variant_of(*np.array(codes, np.uint8).T, variants=variants)
    assert found.tolist() == [1, 0, -1, -1]


def test_shapes_are_padded_and_meaningless_components_dropped(folder: Path) -> None:
    assert parameters(folder).shape.shape == (N, SHAPE_WIDTH)
    columns = Columns()
    columns.columns["body_shape"] = np.ones((N, 32), np.float32)
    variants = installed_variants(folder)
    rich = read_body_parameters(columns, np.arange(N), dataset="rich", variants=variants)
    assert rich is not None and rich.shape.sum() == 10 * N
    assert read_body_parameters(columns, np.array([3]), dataset="rich", variants=variants) is None


def test_a_file_that_would_run_something_is_refused(tmp_path: Path, body: CanonicalBody) -> None:
    with pytest.raises(ConfigError, match="no body model"):
        installed_variants(tmp_path)
    write_smpl(tmp_path)
    (path,) = (tmp_path / "smpl").glob("*.pkl")

    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    for content, message in ((pickle.dumps(Trap(), protocol=2), "refers to"), (b"junk", "")):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="not one") as caught:
            load_bodies(tmp_path, [("smpl", "neutral")], body=body, with_internal=False)
        assert message in str(caught.value)
    assert not (tmp_path / "sprung").exists()
    path.write_bytes(pickle.dumps({"v_template": [1]}, protocol=2))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_bodies(tmp_path, [("smpl", "neutral")], body=body, with_internal=False)


def test_fillers_lie_half_on_the_surface_half_inside(body: CanonicalBody) -> None:
    fillers = Fillers(body, batch=BATCH)
    found = fillers(64, seed=1, step=tf.constant(0, tf.int64), n_drawn=5).numpy()
    assert found.shape == (5, 64, 3)
    edge = (np.abs(body.vertices).max(axis=0) - np.abs(found)).min(axis=2)
    np.testing.assert_allclose(edge[:, ::2], 0, atol=1e-5)
    assert (edge[:, 1::2] > 0).all()
    part = fillers(64, seed=1, step=tf.constant(0, tf.int64), n_drawn=5, slots=tf.constant([3]))
    np.testing.assert_array_equal(part[0], found[3])


def param_store(folder_seed: int = 0) -> StickStore:
    """The stick figures of agora with body parameters beside their joints."""
    store = stick_stores()["agora"]
    splits = {}
    for name, split in store.splits.items():
        n = len(split)
        rng = np.random.default_rng(folder_seed)
        columns = {
            "body_model": np.full(n, BODY_MODELS.index("smpl"), np.uint8) * (np.arange(n) % 3 != 2),
            "body_gender": np.full(n, GENDERS.index("neutral"), np.uint8),
            "body_pose": np.pad(rng.normal(0, 0.2, (n, 72)), [(0, 0), (0, 93)]).astype(np.float32),
            "body_shape": rng.normal(size=(n, 10)).astype(np.float32),
            "body_translation": np.tile(np.array([0, 0, 5], np.float32), (n, 1)),
            "body_kid_factor": np.zeros(n, np.float32),
            "body_scale": np.ones(n, np.float32),
        }
        splits[name] = StickSplit(
            name, {**split.arrays, **columns}, split.images, split.usable_rows
        )
        splits[name].arrays["body_model"].setflags(write=False)
    return StickStore({**store.attributes, "kind": "param"}, splits)


def small_settings(out: Path, folder: Path | None, *, fillers: bool) -> TrainSettings:
    settings = tiny_settings(out)
    return replace(
        settings,
        data=replace(settings.data, body_models=folder),
        batch=replace(
            settings.batch,
            num_points=40,
            num_surface_points=24,
            num_internal_points=16,
            unlabelled_fillers=fillers,
            batch_size_parametric=4,
        ),
    )


def boxed_stick_figure() -> CanonicalBody:
    vertices, faces = box_mesh((1.6, 1.9, 0.4), spacing=0.4)
    stick = canonical_body()
    return CanonicalBody(
        np.concatenate([PLACES, vertices - np.array([0, 0.1, 0])]).astype(np.float32),
        (faces + len(PLACES)).astype(np.int32),
        stick.joints,
    )


@pytest.fixture
def run(tmp_path: Path, folder: Path, models: Any) -> Any:
    """A model, a batch and a function of the losses, as a run would have them."""
    use_quick_network()

    def made(*, fillers: bool, posed: bool = True) -> tuple[LocalizerModel, Any, Any]:
        keras.utils.set_random_seed(3)
        settings = small_settings(tmp_path, folder if posed else None, fillers=fillers)
        stores = {**stick_stores(), "agora": param_store()}
        body = boxed_stick_figure()
        names = {name: store.attributes["joint_names"] for name, store in stores.items()}
        table = joint_table(body, names)
        variants = installed_variants(folder) if posed else ()
        sources = open_sources(settings, stores, table=table, body=body, variants=variants)
        stream = training_stream(
            sources,
            ExampleReader(settings, Scenery(), n_slots=settings.batch.num_points),
            batch=settings.batch,
            data=settings.data,
            seed=1,
        )
        batch = {name: tf.constant(value) for name, value in next(stream).items()}
        kinds = stream.kinds
        stream.close()
        model = initial_model(settings, table=table, body=body)
        model.query_points = query_points(settings, sources, variants=variants, body=body)

        def losses() -> Any:
            step = tf.constant(1, tf.int64)
            return step_losses(model, batch, kinds=kinds, step=step, optimizer_step=step, seed=1)

        return model, (batch, kinds), losses

    return made


def test_fillers_change_neither_loss_nor_gradient(run: Any) -> None:
    results = []
    for fillers in (False, True):
        model, _, losses = run(fillers=fillers)
        weights = [variable.value for variable in model.trainable_variables]
        with tf.GradientTape() as tape:
            total = losses().total
        gradients = tape.gradient(total, weights, unconnected_gradients="zero")
        results.append([total, *(tf.convert_to_tensor(g) for g in gradients)])
    for without, with_fillers in zip(*results, strict=True):
        scale = np.abs(without).max() + 1e-3
        np.testing.assert_allclose(with_fillers / scale, without / scale, atol=2e-4)


def test_posed_examples_ask_for_bodies_the_others_for_joints_and_fillers(run: Any) -> None:
    model, (batch, kinds), _ = run(fillers=True)
    step = tf.constant(1, tf.int64)
    found = model.query_points.complete(batch, kinds=kinds, seed=1, step=step)
    part = kinds[Kind.PARAM]
    has_body = unpacked(batch["body"][part])["body_variant"].numpy() >= 0
    assert has_body.any() and not has_body.all()
    for i, is_posed in enumerate(has_body):
        if is_posed:
            assert found["point_validity"][i].numpy().all()
            assert found["root_index"][i] == 40 - 24
            assert (found["joint_ids"][i].numpy() == -1).all()
            # All of the body is where the parameters put it: around 5 m from the camera.
            assert np.abs(np.median(found["coords3d"][i], axis=0)[2] - 5) < 1
        else:
            np.testing.assert_array_equal(found["coords3d"][i], batch["coords3d"][i])
            np.testing.assert_array_equal(found["point_validity"][i], batch["point_validity"][i])
    rest = slice(part.stop, None)
    empty = ~batch["point_validity"][rest].numpy()
    assert (found["joint_ids"][rest].numpy()[empty] == -1).all()
    assert np.abs(found["canonical_points"][rest].numpy()[empty]).sum(axis=-1).min() > 0
    for name in ("coords3d", "coords2d", "point_validity", "root_index"):
        np.testing.assert_array_equal(found[name][rest], batch[name][rest])


def test_a_run_poses_bodies_where_models_are_installed(
    tmp_path: Path, folder: Path, models: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    use_quick_network()
    settings = small_settings(tmp_path, folder, fillers=True)
    settings = replace(settings, optimisation=replace(settings.optimisation, stop_step=2))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        path = launch_on(settings, {**stick_stores(), "agora": param_store()}, boxed_stick_figure())
    assert path.is_file()
    assert "posing bodies of smpl neutral" in capsys.readouterr().out
