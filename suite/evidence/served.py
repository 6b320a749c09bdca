"""Finds the claims that a record serves: those that it lists, and later ones that need the same training.

A record lists the claims as of when it was planned. A claim that was added later and needs the same training
would otherwise never get its number, since a finished run is not trained again.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from suite.catalogue import Catalogue, current
from suite.contract import Arm
from suite.planning.plan import arms
from suite.published.claims import Claim
from suite.published.finding import claims_by_id
from suite.published.recipes import Recipe, read_recipes
from suite.store.record import Choices
from suite.store.summaries import Evidence

ClaimArm = tuple[str, Arm, tuple[str, ...]]
"""Id of a claim, one of its arms, and the overrides of its variant; empty for the claim's own."""


@dataclass(frozen=True)
class Trainings:
    """The trainings that the arms of claims need.

    Two arms with equal recipes are one training, whatever their role: a model alone may be the student of one
    claim and the teacher of another.

    Attributes:
        recipes: arm of a claim -> the recipe that is trained for it.
        arms: recipe -> the arms that it is trained for.
    """

    recipes: Mapping[ClaimArm, Recipe]
    arms: Mapping[Recipe, list[ClaimArm]]
    _known: dict[tuple[object, ...], list[ClaimArm]] = field(default_factory=dict, repr=False, compare=False)

    def served_by(self, record: Evidence) -> list[ClaimArm]:
        """The claims that a record serves, each with the arm it fills; those that it lists come first.

        Other claims that need the same training as a listed one are served too, except those whose networks
        only start from its backbone. A variant only serves the claims that it lists.
        """
        listed = tuple([(entry.claim, entry.arm, entry.variant) for entry in record.claims])
        choices = record.choices
        # Students are trained with any seed, teachers with only one.
        teaches = record.seed == choices.teacher_seed
        # Thousands of records list the same claims.
        key = (listed, choices, teaches)
        if key not in self._known:
            self._known[key] = self._served(listed, choices, teaches)
        return self._known[key]

    def _served(self, listed: Sequence[ClaimArm], choices: Choices, teaches: bool) -> list[ClaimArm]:
        trained = dict.fromkeys(self.recipes[entry] for entry in listed if entry in self.recipes)
        if choices.task and choices.student and any(entry[1:] == ("backbone", ()) for entry in listed):
            # A backbone is the model alone, as its file describes it.
            trained[Recipe(task=choices.task, student=choices.student)] = None
        same = [entry for recipe in trained if _is_of(choices, recipe) for entry in self.arms.get(recipe, ())]
        return list(dict.fromkeys([*listed, *(entry for entry in same if teaches or entry[1] != "teacher")]))


def find_trainings(claims: Iterable[Claim], recipes: Mapping[str, Recipe]) -> Trainings:
    """Finds the trainings that claims need.

    Args:
        claims: claims of any papers; those that are only quoted, or have no recipe in `recipes`, need none.
        recipes: by id.

    Raises:
        SuiteError: ``baselines/models.yaml`` does not have a teacher.
    """
    found: dict[ClaimArm, Recipe] = {
        (claim.id, arm, ()): recipe
        for claim in claims
        if claim.judged and claim.recipe is not None and claim.recipe in recipes
        for arm, recipe in arms(claim, recipes[claim.recipe])
    }
    sharing: dict[Recipe, list[ClaimArm]] = {}
    for entry, recipe in found.items():
        sharing.setdefault(recipe, []).append(entry)
    return Trainings(found, sharing)


def claims_served(record: Evidence) -> list[ClaimArm]:
    """The claims of the current papers that a record serves; see `Trainings.served_by`."""
    return known_trainings().served_by(record)


def known_trainings() -> Trainings:
    """The trainings of all current papers; cached per catalogue, like the papers."""
    return _trainings_of(current())


@functools.lru_cache(maxsize=8)
def _trainings_of(catalogue: Catalogue) -> Trainings:
    return find_trainings(claims_by_id().values(), read_recipes(*catalogue))


def _is_of(choices: Choices, recipe: Recipe) -> bool:
    """Whether a run was composed from the choices of a recipe.

    It was not if the claim has been given another recipe since. The run then counts only for the claims that
    it lists.
    """
    return choices[:4] == (recipe.task, recipe.student, recipe.teacher, recipe.method)
