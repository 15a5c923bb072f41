"""What synthetic studies are, in the words that travel with a figure measured on them."""

from __future__ import annotations

from brainmvp_models.population import Population
from brainmvp_training.synthetic.synthetic_study import Recipe
from brainmvp_training.synthetic.wide.wide_study import WideRecipe

_FIELD_OF_USE = "shows and tests the software; says nothing of patients"


def population_of_recipe(recipe: Recipe | WideRecipe, anatomy: str) -> Population:
    """The population of the studies that a recipe draws.

    Args:
        anatomy: what the one brain of a :class:`Recipe` is called.
    """
    if isinstance(recipe, WideRecipe):
        return _wide(recipe)
    return Population(
        kind="synthetic",
        description=f"the anatomy of one brain, {anatomy}, deformed and painted, with synthetic "
        f"gliomas; {recipe.healthy:.0%} without one",
        anatomy="synthetic",
        preparation="brains without skulls on one grid of 1 mm",
        field_of_use=_FIELD_OF_USE,
    )


def _wide(recipe: WideRecipe) -> Population:
    heads = f"label maps of {len(recipe.heads)} heads" if recipe.heads else "one average brain"
    real = f", {recipe.real:.0%} of them {len(recipe.brains)} real brains" if recipe.brains else ""
    return Population(
        kind="mixed" if recipe.brains else "synthetic",
        description=f"{heads}, deformed and painted{real}, with synthetic tumours and other "
        f"lesions; {recipe.healthy:.0%} without a tumour",
        anatomy="mixed" if recipe.brains else "synthetic",
        preparation="brains without skulls on one grid of 2 mm, some extracted badly, with thick "
        "slices or misplaced series",
        field_of_use=_FIELD_OF_USE,
    )
