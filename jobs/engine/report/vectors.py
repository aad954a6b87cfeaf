"""The column of vectors by which the report says which samples are alike."""

from dataclasses import dataclass

import numpy as np

from jobs.engine.outcome.outcome import Outcome
from jobs.engine.record.entries import columns
from jobs.engine.store.feature import VALUE, Feature
from operators.embedding.embed import Embed
from operators.missing import ModelMissing


@dataclass(frozen=True)
class Vectors:
    """A stored column of vectors."""

    feature: Feature
    origin: str
    """Which column it is, in words."""

    def having(self, samples: int) -> np.ndarray:
        """Which of so many samples have a vector; (samples,) bool."""
        return self.feature.states(samples) == VALUE

    def unit(self, ids: np.ndarray) -> np.ndarray:
        """The vectors of these ids, scaled to length 1; (ids, d) float32. A vector of length 0 stays as it is."""
        found = self.feature.values(ids).astype(np.float32)
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return found / np.where(lengths > 0, lengths, 1)


def vectors_of(outcome: Outcome) -> Vectors | None:
    """The column of vectors that the decision used, else the default embeddings where the store has them."""
    name = outcome.selection.vector
    if name:
        known = outcome.selection.features.get(name)
        feature = known or Feature(columns(outcome.manifest["verbs"], outcome.pool.folder)[name]["feature"])
        return Vectors(feature, f"the column {name}, by which the samples were selected")
    embed = Embed()
    try:
        identity = outcome.pool.origin.identity(embed.belongs_to())
        feature = outcome.pool.session.store.feature(embed, identity)
    except (ModelMissing, ValueError, OSError):
        return None
    found = Vectors(feature, "stored embeddings of another run: this method compares no vectors")
    return found if found.having(outcome.pool.samples).any() else None
