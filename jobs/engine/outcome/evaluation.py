"""The evaluation of a model or a classifier on held-out samples, with intervals by the bootstrap over samples."""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import Field
from pydantic.dataclasses import dataclass

from jobs.engine.command.config import configured
from jobs.engine.command.places import out_file
from jobs.engine.execute.session import Session
from jobs.engine.execute.starting import started
from jobs.engine.pool.pool import Pool
from jobs.engine.record.declarations import plain, validated
from jobs.engine.samples.reading import read_samples
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import UsageError, WinnowError
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.kernels.bootstrap import Interval, interval
from operators.losses.class_error import ClassError
from operators.losses.loss import Loss
from operators.models.precision import Precision
from operators.positions import SampleTokens
from operators.supervision.labels import Labels
from operators.supervision.supervised import Template
from operators.training.files import FACTS

ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True, config=STRICT)
class Evaluation:
    """How samples are shown to the model, and how the interval is drawn."""

    template: Template = "tulu"
    max_tokens: SampleTokens = None
    """The number of tokens after which a sample is cut; none: 2,048, or fewer where the model has fewer positions."""
    precision: Precision = "auto"
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """The share of draws inside the interval."""
    draws: Annotated[int, Field(ge=1)] = 1000
    seed: Annotated[int, Field(ge=0)] = 0
    max_errors: Annotated[float, Field(ge=0, le=1)] = 0.01
    """The share of samples that may have no loss before the run fails."""


def evaluation(model: str, overrides: Iterable[str]) -> Evaluation:
    """The evaluation with its fields set by `field=value`.

    The defaults of template and max_tokens are those of the model's training.json, where it has one. UsageError names a
    field that is wrong.
    """
    declaration = _declaration(Folder.at(model))
    learnt = {name: declaration[name] for name in ("template", "max_tokens") if name in declaration}
    return configured(Evaluation, learnt, overrides)


def losses(model: str, wanted: Evaluation) -> Loss | ClassError:
    """The operator that computes the losses of a model, of an adapter on the base that it names, or of a classifier.

    UsageError for a classifier's adapter, and for an adapter that does not name its base.
    """
    folder = Folder.at(model)
    checkpoint = Checkpoint(folder.url if folder.exists() else model)
    declaration = _declaration(folder)
    if declaration.get("labels"):
        if folder.exists(ADAPTER_CONFIG):
            raise UsageError(f"{model} is a classifier's adapter, which is not read here: train it whole, by lora=none")
        labels = validated(Labels, declaration["labels"], "labels.")
        return ClassError(checkpoint, labels, wanted.max_tokens, precision=wanted.precision)
    adapter = None
    if folder.exists(ADAPTER_CONFIG):
        base = _json(folder, ADAPTER_CONFIG).get("base_model_name_or_path")
        if not isinstance(base, str):
            raise UsageError(f"{folder}/{ADAPTER_CONFIG} does not name the model that the adapter is for")
        adapter, checkpoint = checkpoint, Checkpoint(base)
    return Loss(checkpoint, adapter, wanted.template, wanted.max_tokens, wanted.precision)


def checked(model: str, overrides: Iterable[str]) -> tuple[Evaluation, Loss | ClassError]:
    """The evaluation and its operator; ModelMissing where the model, or an adapter's base, is not there."""
    wanted = evaluation(model, overrides)
    operator = losses(model, wanted)
    operator.check()
    return wanted, operator


def out_evaluation(out: str, inputs: Sequence[str]) -> tuple[Folder, str]:
    """Returns the folder and the name of the file to write.

    UsageError as `out_file`, and if the file is there and is no earlier evaluation.
    """
    folder, name = out_file(out, inputs)
    if folder.exists(name):
        try:
            found = json.loads(folder.content(name))
        except ValueError:
            found = None
        if not (isinstance(found, dict) and {"model", "overall"} <= found.keys()):
            raise UsageError(f"--out {out} is there already and is no evaluation; give another --out")
    return folder, name


def _declaration(folder: Folder) -> dict[str, Any]:
    """The declaration of the training of the model in a folder; empty where it is not known."""
    if not folder.exists(FACTS):
        return {}
    found = _json(folder, FACTS).get("declaration")
    if not isinstance(found, dict):
        raise UsageError(f"{folder}/{FACTS} does not say how the model was trained: it has no declaration")
    return found


def _json(folder: Folder, name: str) -> dict[str, Any]:
    try:
        found = json.loads(folder.content(name))
    except ValueError as error:
        raise UsageError(f"{folder}/{name} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{folder}/{name} holds no JSON object")
    return found


def intervals(*columns: np.ndarray, groups: np.ndarray, level: float, draws: int, seed: int) -> list[Interval | None]:
    """The mean with its interval, over all samples first and then over each group, in the order of the groups' numbers.

    columns: (n,) the totals of the samples and, where they are not 1, their counts. A sample whose count is 0 is left
    out, and None is given where no other one is there. groups: (n,) the number of each sample's group.
    """
    totals, counts = (*columns, np.ones(len(groups)))[:2]
    chosen = [counts > 0, *((groups == group) & (counts > 0) for group in range(int(groups.max()) + 1))]
    return [
        interval(totals[rows], counts[rows], level=level, draws=draws, seed=seed) if rows.any() else None
        for rows in chosen
    ]


def measures(operator: Loss | ClassError) -> dict[str, tuple[str, ...]]:
    """The columns behind each reported mean: of the totals, and of the counts where those are not 1."""
    if isinstance(operator, Loss):
        return {"loss": ("loss.nll_sum", "loss.tokens")}
    slots = {"slot accuracy": ("loss.slots_right", "loss.slots")} if operator.labels.slots else {}
    return {"loss": ("loss.nll_mean",), "accuracy": ("loss.right",), **slots}


def evaluated(
    operator: Loss | ClassError, wanted: Evaluation, inputs: Sequence[str], session: Session
) -> dict[str, Any]:
    """The evaluation's results, overall and by source, as JSON can hold them.

    Computes the losses of the inputs, or takes them from the store. WinnowError where no sample has a loss.
    """
    with started(session, {"loss": operator}):
        pool = Pool.of(inputs, session)
        scored = pool.map(loss=operator)
        if not len(scored):
            raise WinnowError(f"no sample of {', '.join(inputs)} has a loss")
        tables = read_samples(pool.parts, scored.ids, ["source"])
        sources, groups = np.unique(pa.concat_tables(tables)["source"].to_numpy(), return_inverse=True)
        settings = {"level": wanted.level, "draws": wanted.draws, "seed": wanted.seed}
        found = {
            name: scored.reduce(intervals, *columns, groups=groups, **settings)
            for name, columns in measures(operator).items()
        }
        tokens, cut = scored.values("loss.tokens"), scored.values("loss.truncated")
    first, *others = (dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True))
    rows = [_row(first, tokens, cut)]
    rows += [_row(each, tokens[groups == at], cut[groups == at]) for at, each in enumerate(others)]
    adapter = operator.adapter if isinstance(operator, Loss) else None
    return {
        "winnow_evaluation": 1,
        "inputs": list(inputs),
        "reading": session.reading.semantics(),
        "fields": plain(wanted),
        "operator": {"model": operator.model.identity(), "adapter": adapter and adapter.identity()},
        "pool": pool.facts["fingerprint"],
        "without_loss": pool.samples - len(scored),
        "overall": rows[0],
        "sources": dict(zip(sources.tolist(), rows[1:], strict=True)),
    }


def _row(found: Mapping[str, Interval | None], tokens: np.ndarray, cut: np.ndarray) -> dict[str, Any]:
    """The results for some samples, with the perplexity for a language model, whose loss is per token.

    None for a result that no sample has, such as the accuracy of slots where there are none.
    """
    results: dict[str, Iterable[float | None] | None] = dict(found)
    if list(found) == ["loss"]:
        limit = math.log(sys.float_info.max)
        results["perplexity"] = [math.exp(value) if value < limit else None for value in found["loss"] or ()]
    counts = {"samples": len(tokens), "tokens": int(tokens.sum()), "truncated": int(cut.sum())}
    fields = Interval._fields
    return {**counts, **{name: each and dict(zip(fields, each, strict=True)) for name, each in results.items()}}
