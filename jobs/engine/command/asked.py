"""What a run is asked for, once its recipe is checked."""

from dataclasses import dataclass
from typing import Any

from jobs.engine.command.config import Request
from jobs.engine.recipe.recipe import Recipe
from jobs.engine.record.declarations import plain
from jobs.engine.store.folder import Folder


@dataclass(frozen=True)
class Asked:
    """A recipe, what to select from, and where to write."""

    request: Request
    recipe: Recipe
    out: Folder

    @property
    def name(self) -> str:
        """The name of the recipe."""
        return self.request.recipe or ""

    def run(self) -> dict[str, Any]:
        """The entry `run` of the manifest: what was asked for. It is equal for equal runs."""
        return {
            "recipe": self.name,
            "inputs": list(self.request.inputs),
            "as_published": self.request.as_published,
            "reading": dict(self.request.reading),
            "fields": plain(self.recipe),
        }
