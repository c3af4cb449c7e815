"""The volume is the mesh's, and its eigenfunctions are the ones that physics knows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from errors import ConfigError
from stages.train.canonical_volume import (
    Eigenbasis,
    eigenfunctions,
    enclosed_volume,
    finite_elements,
    is_inside,
    largest_component,
    points_in_volume,
    tetrahedralize,
)
from tests.stages.train.solids import box_mesh

SIZE = (1.0, 0.62, 0.4)


@pytest.fixture(scope="module")
def basis() -> Eigenbasis:
    vertices, faces = box_mesh(SIZE, spacing=0.12)
    mesh = tetrahedralize(vertices, faces, n_inner=700)
    return eigenfunctions(largest_component(mesh), 6)


def test_inside_is_inside() -> None:
    vertices, faces = box_mesh(SIZE, spacing=0.2)
    points = np.random.default_rng(0).uniform(-0.6, 0.6, (4000, 3))
    expected = (np.abs(points) < np.array(SIZE) / 2).all(axis=1)
    np.testing.assert_array_equal(is_inside(points, vertices=vertices, faces=faces), expected)


def test_tetrahedra_fill_the_mesh_and_begin_with_its_vertices() -> None:
    vertices, faces = box_mesh(SIZE, spacing=0.2)
    extra = np.array([[0.05, 0.02, 0.01]])
    mesh = tetrahedralize(vertices, faces, n_inner=100, extra_nodes=extra)
    np.testing.assert_array_equal(mesh.nodes[: len(vertices)], vertices)
    np.testing.assert_array_equal(mesh.nodes[len(vertices)], extra[0])
    assert mesh.volumes.sum() == pytest.approx(np.prod(SIZE), rel=5e-3)
    assert enclosed_volume(vertices, faces) == pytest.approx(np.prod(SIZE))


def test_eigenvalues_are_those_of_a_box(basis: Eigenbasis) -> None:
    waves = itertools.product(range(4), repeat=3)
    exact = sorted(
        sum((np.pi * n / side) ** 2 for n, side in zip(w, SIZE, strict=True)) for w in waves
    )
    np.testing.assert_allclose(basis.eigenvalues, exact[1:7], rtol=0.05)  # of so coarse a mesh


def test_eigenfunctions_are_orthonormal_and_the_first_goes_along_the_longest_side(
    basis: Eigenbasis,
) -> None:
    _, mass = finite_elements(basis.mesh)
    np.testing.assert_allclose(basis.values.T @ (mass @ basis.values), np.eye(6), atol=1e-8)
    wave = np.sin(np.pi * basis.mesh.nodes[:, 0] / SIZE[0])
    assert abs(np.corrcoef(wave, basis.values[:, 0])[0, 1]) > 0.999
    peaks = np.abs(basis.values).argmax(axis=0)
    assert (basis.values[peaks, np.arange(6)] > 0).all()


def test_points_are_drawn_evenly(basis: Eigenbasis) -> None:
    tetrahedra, weights = points_in_volume(basis.mesh, 20000, np.random.default_rng(0))
    corners = basis.mesh.nodes[basis.mesh.tetrahedra[tetrahedra]]
    points = np.einsum("nk,nkd->nd", weights, corners)
    share, _ = np.histogramdd(points, bins=[4, 2, 2], range=[(-s / 2, s / 2) for s in SIZE])
    np.testing.assert_allclose(share / len(points), 1 / 16, atol=0.008)


def test_an_island_is_left_out() -> None:
    vertices, faces = box_mesh((0.4, 0.4, 0.4), spacing=0.2)
    both = np.concatenate([vertices, vertices * 0.5 + [2, 0, 0]])
    mesh = tetrahedralize(both, np.concatenate([faces, faces + len(vertices)]), n_inner=60)
    kept = largest_component(mesh)
    assert kept.volumes.sum() == pytest.approx(0.4**3, rel=5e-3)
    assert kept.nodes[:, 0].max() < 1
    assert set(kept.tetrahedra.ravel()) == set(range(len(kept.nodes)))


def test_what_has_no_inside_or_too_few_nodes_is_refused(basis: Eigenbasis) -> None:
    vertices, faces = box_mesh(SIZE, spacing=0.3)
    with pytest.raises(ConfigError, match="encloses no volume"):
        tetrahedralize(vertices, faces[:, ::-1], n_inner=10)
    with pytest.raises(ConfigError, match="finer volume"):
        eigenfunctions(basis.mesh, len(basis.mesh.nodes))
