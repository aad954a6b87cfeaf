"""As published: each recipe takes the settings of its paper and of the released code, and changes nothing else."""

import json
from functools import reduce

import pytest

from jobs.engine.command.config import Request, build, recipe_class
from jobs.engine.terminal.modules import recipe_names

PUBLISHED = {name: recipe_class(name).published for name in recipe_names() if recipe_class(name).published}


def value_at(recipe, path):
    """The value at a dotted name; None where a part of the recipe is not there."""
    return reduce(lambda part, name: getattr(part, name, None), path.split("."), recipe)


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_published_is_what_its_fields_are_set_to_and_each_differs_from_the_default(name):
    default, published = (build(name, Request(as_published=how), []) for how in (False, True))
    fields = PUBLISHED[name]
    assert [path for path in fields if value_at(published, path) == value_at(default, path)] == []
    assert published == build(name, Request(), [f"{path}={json.dumps(value)}" for path, value in fields.items()])
