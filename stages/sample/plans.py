"""Which picture shows whom: the whole of a sample dataset before the first pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.sample.recipes import Recipe

_HELD_OUT_SHARE = 0.2
_PERSON_STREAM, _PICTURE_STREAM, _PLAN_STREAM = 0, 1, 2


@dataclass(frozen=True, slots=True)
class PicturePlan:
    """One picture to be taken.

    Attributes:
        number: of the picture within the dataset.
        split: PosePile's number.
        annotated: the people who become examples.
        bystanders: people in the background who do not.
        is_full: whether the picture is left uncropped.
    """

    number: int
    split: int
    annotated: tuple[int, ...]
    bystanders: tuple[int, ...]
    is_full: bool


def plan_pictures(recipe: Recipe, *, examples: int, seed: int) -> list[PicturePlan]:
    """The pictures of a dataset, exactly `examples` annotated people in all.

    Nobody is in two splits, not even in the background.
    """
    stream = np.random.SeedSequence(seed, spawn_key=(recipe.number, _PLAN_STREAM))
    rng = np.random.default_rng(stream)
    n_people = int(np.clip(examples // 4, 20, 800))
    n_held_out = round(_HELD_OUT_SHARE * examples) if recipe.held_out_split is not None else 0
    first_held_out = round((1 - _HELD_OUT_SHARE) * n_people)
    plans: list[PicturePlan] = []
    for split, count, people in (
        (0, examples - n_held_out, (0, first_held_out)),
        (recipe.held_out_split or 0, n_held_out, (first_held_out, n_people)),
    ):
        while count > 0:
            plan = _plan_picture(recipe, rng, len(plans), split, count, people)
            plans.append(plan)
            count -= len(plan.annotated)
    return plans


def person_seed(recipe: Recipe, number: int, *, seed: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(recipe.number, _PERSON_STREAM, number))


def picture_seed(recipe: Recipe, number: int, *, seed: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(recipe.number, _PICTURE_STREAM, number))


def _plan_picture(
    recipe: Recipe,
    rng: np.random.Generator,
    number: int,
    split: int,
    remaining: int,
    people: tuple[int, int],
) -> PicturePlan:
    # Regularly, so that a small sample has some of them too.
    period = round(1 / recipe.full_share) if recipe.full_share else 0
    is_full = period > 0 and number % period == period // 4
    is_group = recipe.group_share > 0 and (is_full or rng.random() < recipe.group_share)
    n_annotated = min(int(rng.integers(2, 4)), remaining) if is_group else 1
    n_bystanders = int(not is_group and rng.random() < recipe.bystander_share)
    crowd = rng.choice(np.arange(*people), size=n_annotated + n_bystanders, replace=False)
    chosen = [int(person) for person in crowd]
    return PicturePlan(
        number=number,
        split=split,
        annotated=tuple(chosen[:n_annotated]),
        bystanders=tuple(chosen[n_annotated:]),
        is_full=is_full,
    )
