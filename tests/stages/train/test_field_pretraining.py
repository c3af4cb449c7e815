"""A gps field begins with the body's eigenfunctions, and a run with the weights it is told to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from errors import ConfigError
from stages.train.canonical_body import CanonicalBody
from stages.train.field_pretraining import canonical_eigenbasis, pretrain_field
from stages.train.launch import initial_model, launch_on
from stages.train.point_field import PointField
from stages.train.settings import FieldSettings, TrainSettings
from tests.stages.train.solids import box_mesh
from tests.stages.train.stick_figures import PLACES, canonical_body, stick_stores
from tests.stages.train.tiny_run import tiny_settings, use_quick_network

KERAS_SAVING = "ignore:__array__ implementation:DeprecationWarning"  # Keras's own
FIELD = FieldSettings(
    field_type="gps",
    field_posenc_dim=6,
    field_fourier_dim=32,
    field_fourier_stddev=3.0,
    field_gps_hidden_size=32,
    field_hidden_size=8,
    lbo_inner_nodes=200,
    lbo_pretrain_steps=300,
    lbo_pretrain_batch=64,
)


def body() -> CanonicalBody:
    """The stick figure in a box that holds it; its joints are the box's first vertices."""
    vertices, faces = box_mesh((1.6, 1.9, 0.4), spacing=0.3)
    stick = canonical_body()
    return CanonicalBody(
        np.concatenate([PLACES, vertices - np.array([0, 0.1, 0])]).astype(np.float32),
        (faces + len(PLACES)).astype(np.int32),
        stick.joints,
    )


def gps_settings(out: Path, **field: object) -> TrainSettings:
    return replace(tiny_settings(out), field=replace(FIELD, **field))


def build_field(settings: FieldSettings, folder: Path) -> PointField:
    keras.utils.set_random_seed(1)
    basis = canonical_eigenbasis(body(), settings, folder=folder)
    bounds = np.stack([basis.mesh.nodes.min(axis=0), basis.mesh.nodes.max(axis=0)])
    field = PointField(4, bounds=bounds, eigenvalues=basis.eigenvalues, settings=settings)
    field.build((None, 3))
    return field


def test_the_fit_explains_the_eigenfunctions_and_is_kept(tmp_path: Path) -> None:
    basis = canonical_eigenbasis(body(), FIELD, folder=tmp_path)
    fitted = build_field(FIELD, tmp_path)
    error = pretrain_field(fitted, basis, seed=1, folder=tmp_path)
    assert error < 0.1
    found = fitted.encoding(fitted.normalize(basis.mesh.nodes[-50:].astype(np.float32)))
    unexplained = np.square(found - basis.values[-50:]).mean() / np.square(basis.values).mean()
    assert unexplained < 0.2

    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 2
    again = build_field(FIELD, tmp_path)
    assert pretrain_field(again, basis, seed=1, folder=tmp_path) == pytest.approx(error)
    for first, second in zip(fitted.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_damaged_remnant_is_computed_anew(tmp_path: Path) -> None:
    basis = canonical_eigenbasis(body(), FIELD, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:2000])
    again = canonical_eigenbasis(body(), FIELD, folder=tmp_path)
    np.testing.assert_allclose(again.eigenvalues, basis.eigenvalues, rtol=1e-9)


def test_the_first_feature_can_be_silenced(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (20, 3)).astype(np.float32)
    plain = build_field(FIELD, tmp_path)
    silenced = build_field(replace(FIELD, lbo_zero_first=True), tmp_path)
    np.testing.assert_array_equal(plain.encode(points)[:, 1:], silenced.encode(points)[:, 1:])
    assert not np.any(silenced.encode(points)[:, 0])
    assert np.any(plain.encode(points)[:, 0])


@pytest.mark.filterwarnings(KERAS_SAVING)
def test_the_published_field_trains(tmp_path: Path) -> None:
    use_quick_network()
    settings = gps_settings(tmp_path)
    path = launch_on(
        replace(settings, optimisation=replace(settings.optimisation, stop_step=2)),
        stick_stores(),
        body(),
    )
    trained = keras.models.load_model(path)
    assert trained.settings.field.field_type == "gps"
    assert len(trained.eigenvalues) == FIELD.field_posenc_dim


@pytest.mark.filterwarnings(KERAS_SAVING)
def test_a_run_begins_with_another_runs_weights(tmp_path: Path) -> None:
    use_quick_network()
    from stages.train.canonical_body import joint_table

    names = {name: store.attributes["joint_names"] for name, store in stick_stores().items()}
    table = joint_table(body(), names)
    fewer = joint_table(body(), {"mads": names["mads"], "coco": names["coco"]})
    settings = gps_settings(tmp_path / "first", init_lbo=False)
    first = initial_model(settings, table=table, body=body())
    rng = np.random.default_rng(0)
    offsets = first.canonical_joints
    for variable in (offsets.left_offsets, offsets.center_offsets):
        variable.assign(rng.normal(size=variable.shape) * 0.01)
    path = tmp_path / "model.keras"
    first.save(path)

    keras.utils.set_random_seed(77)
    told = replace(settings, backbone=replace(settings.backbone, init_path=str(path)))
    second = initial_model(told, table=fewer, body=body())
    for name in ("backbone", "link", "link_norm", "field"):
        pairs = zip(
            getattr(first, name).get_weights(), getattr(second, name).get_weights(), strict=True
        )
        assert all(np.array_equal(a, b) for a, b in pairs), name
    for dataset in ("mads", "coco"):
        np.testing.assert_array_equal(first.dataset_joints(dataset), second.dataset_joints(dataset))

    untold = initial_model(settings, table=fewer, body=body())
    assert not np.array_equal(untold.link.get_weights()[0], second.link.get_weights()[0])
    larger = replace(told, backbone=replace(told.backbone, backbone_link_dim=9))
    with pytest.raises(ConfigError, match="other weights"):
        initial_model(larger, table=fewer, body=body())
    missing = replace(told, backbone=replace(told.backbone, init_path=str(tmp_path / "no.keras")))
    with pytest.raises(ConfigError, match="no such model"):
        initial_model(missing, table=fewer, body=body())
    (tmp_path / "no.keras").write_bytes(b"not a model")
    with pytest.raises(ConfigError, match="cannot be read"):
        initial_model(missing, table=fewer, body=body())
