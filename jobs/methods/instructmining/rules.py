"""The rules of InstructMining: the log of the loss of a fine-tuned model as a sum of indicators of its training data.

A rule is fitted on the means of sets of samples, and applied to single samples. Its coefficients belong to the models
that measured the indicators: the rewards of two models are on two scales. So a rule refuses other models than its own.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jobs.engine.execute.session import Session
from jobs.engine.samples.pool_folder import inputs_key
from jobs.engine.terminal.errors import UsageError
from jobs.methods.instructmining.indicators import COLUMNS, LLAMA, PYTHIA, Indicators
from operators.checkpoint import MINILM
from operators.missing import ModelMissing

Models = Literal["as fitted", "vouched"]
BLOCK = 1 << 16
"""Samples whose indicators are in memory as float64 at a time."""
FORM = 1
"""The form of rule.json, under the key `winnow_rule`."""


@dataclass(frozen=True)
class Rule:
    """A constant and a coefficient for each indicator."""

    name: str
    constant: float
    coefficients: Mapping[str, float]
    models: Mapping[str, str] = field(default_factory=dict)
    """Of a published rule, the name of the model that each indicator was measured with."""
    identities: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of a rule.json, how each indicator was measured (`Indicators.identity`)."""
    provenance: str = ""

    def predicted(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The predicted log of the loss, (n,) float64; lower is better. values: of each indicator, (n,)."""
        columns = [np.asarray(values[name]) for name in self.coefficients]
        predicted = np.empty(len(columns[0]))
        for start in range(0, len(predicted), BLOCK):
            pairs = zip(self.coefficients.values(), columns, strict=True)
            terms = [weight * each[start : start + BLOCK].astype(np.float64) for weight, each in pairs]
            predicted[start : start + BLOCK] = self.constant + np.sum(terms, axis=0)
        return predicted

    def refusals(self, indicators: Indicators) -> Iterator[str]:
        """Yields a sentence for each indicator that is measured otherwise than when the rule was fitted."""
        for name in self.coefficients:
            if name in self.models:
                has = indicators.operator(name).model.name
                if has != self.models[name]:
                    yield self._refusal(name, self.models[name], has)
                continue
            try:
                found, fitted = indicators.identity(name), self.identities[name]
            except ModelMissing:  # the check of the operators names it
                continue
            if any(found.get(key) != fitted.get(key) for key in ("fingerprint", "neighbour")):
                yield self._refusal(name, *_differing(fitted, found))

    def _refusal(self, name: str, fitted: str, given: str) -> str:
        return (
            f"rule {self.name} was fitted with {name} by {fitted}, not by {given}: set {COLUMNS[name][0]} to what it "
            "was fitted with, fit a rule for these indicators with `winnow fit-rule`, or, where the model is a "
            "converted copy, accept it with models=vouched"
        )


def _differing(fitted: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, str]:
    """How an indicator was measured and is measured, by what differs."""
    both = [{**each, **each["fields"]} for each in (fitted, given)]
    names = [key for key in both[1] if key != "fields" and both[0].get(key) != both[1][key]]
    names = [key for key in names if key != "fingerprint"] or ["fingerprint"]  # a model whose content has changed
    first, second = (", ".join(f"{key}={_short(each.get(key))}" for key in names) for each in both)
    return first, second


def _short(value: Any) -> str:
    return value.get("name", str(value)) if isinstance(value, Mapping) else str(value)[:60]


UNIEVAL = "MingZhong/unieval-dialog"
PUBLISHED = {
    "v3": Rule(
        "v3",
        0.0274,
        {"rew": -0.0078, "und": 0.4421, "nat": -0.3212, "coh": -0.1520},
        {"rew": PYTHIA.name, "und": UNIEVAL, "nat": UNIEVAL, "coh": UNIEVAL},
        provenance="Cao, Kang and Sun, arXiv 2307.06290v3 (COLM 2024), of 129 runs of LLaMA-2-7B; as reviews quote it",
    ),
    "v1": Rule(
        "v1",
        1.0694,
        {"rew": -0.1498, "len_out": 8.257e-5, "knn": -0.9350},
        {"rew": PYTHIA.name, "len_out": LLAMA.name, "knn": MINILM},
        provenance="Cao, Kang and Sun, arXiv 2307.06290v1: LLaMA-7B, as a third party's README quotes it, whose own "
        "code has the constant 1.0684. Which reward model it was fitted with is not certain",
    ),
}


def rule_named(name: str) -> Rule:
    """A published rule by its name, or the rule in a file; UsageError where there is none that can be used."""
    if name in PUBLISHED:
        return PUBLISHED[name]
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"rule={name}: it is neither {' nor '.join(PUBLISHED)}, nor a rule.json of `winnow fit-rule`")
    try:
        return _rule_in(path, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"rule={name} is not a rule.json of `winnow fit-rule`: {error}") from None


def _rule_in(path: Path, content: Mapping[str, Any]) -> Rule:
    if content.get("winnow_rule") != FORM:
        raise UsageError(
            f"rule={path} has the form {content.get('winnow_rule')!r}, and this version of Winnow reads {FORM}: fit "
            "the rule again with `winnow fit-rule`"
        )
    weights = {str(name): float(value) for name, value in content["coefficients"].items()}
    unknown = [name for name in weights if name not in COLUMNS]
    numbers = [float(content["constant"]), *weights.values()]
    if unknown or not weights or not np.isfinite(numbers).all():
        raise ValueError(f"unknown indicator {unknown[0]}" if unknown else "it has no finite coefficients")
    identities = {name: content["indicators"][name] for name in weights}
    return Rule(str(path), numbers[0], weights, identities=identities, provenance=str(content["provenance"]))


def rule_refusals(name: str, indicators: Indicators, models: Models) -> Iterator[str]:
    """Yields why a rule cannot be used with these indicators. models: whether they have to be those of the rule."""
    try:
        rule = rule_named(name)
    except UsageError as error:
        yield str(error)
        return
    if models == "as fitted":
        yield from rule.refusals(indicators)


def note_rule(name: str, session: Session) -> None:
    """Writes the file of a rule into the record of the run, so that a changed file makes another run of it."""
    if name in PUBLISHED:
        return
    digest = hashlib.sha256(Path(name).read_bytes()).hexdigest()
    key = inputs_key([name], session.store, session.reading.whole())
    session.log.append({"read": [name], "key": key, "sources": [{"uri": name, "sha256": digest}], "samples": 0})
