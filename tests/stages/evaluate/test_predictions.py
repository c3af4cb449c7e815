"""What the model is evaluated on is read alike, however many threads read it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stages.evaluate.predictions import read_truth
from stages.train.augmentation import Scenery
from stages.train.examples import ExampleReader
from stages.train.settings import BatchSettings, CropSettings, HeadSettings, TrainSettings
from tests.stages.train.stick_figures import stick_sources

SETTINGS = TrainSettings(head=HeadSettings(proc_side=32, stride_train=16, stride_test=16))


def test_pictures_are_augmented_only_if_test_aug_asks_for_it_and_always_alike() -> None:
    source = stick_sources(BatchSettings())[0]
    plain = ExampleReader(SETTINGS, Scenery())
    augmented = ExampleReader(replace(SETTINGS, crop=CropSettings(test_aug=True)), Scenery())
    positions = list(range(9))
    for reader in (plain, augmented):
        truth, images = read_truth(source, positions, reader, threads=3)
        again, same_images = read_truth(source, positions, reader, threads=1)
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_allclose(truth.coords3d, again.coords3d, rtol=1e-5)
        centred = np.allclose(truth.intrinsics[:, 0, 0], read_focal(plain, source))
        assert centred == (reader is plain)


def read_focal(reader: ExampleReader, source: object) -> np.ndarray:
    focal = [reader(source, i, None)["intrinsics"][0, 0] for i in range(9)]  # type: ignore[arg-type]
    return np.array(focal)
