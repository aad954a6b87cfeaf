"""How well a model predicts held-out responses, or a classifier the labels: overall and for each file.

    python -m jobs.evaluate models/ltd held_out.jsonl --out ltd.json
    python -m jobs.evaluate /models/base held_out.jsonl other.jsonl template=alpaca max_tokens=512

The loss is the negative log-likelihood a token of the responses (nats), and perplexity its exponential; the interval
is where 95 % of samples drawn again would put them (bootstrap over samples). MODEL is a model or an adapter that
jobs.finetune wrote: it is shown samples in the template that it was trained with, unless a field says otherwise.
Numbers of two models are comparable where template, tokenizer and max_tokens are the same. Of a classifier it is the
loss of the class, and the shares of classes and of slots that it tells right.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import Field
from pydantic.dataclasses import dataclass

from jobs.engine.command import as_typed, exit_code, fields_and_others
from jobs.engine.config import configured
from jobs.engine.declarations import declared, plain
from jobs.engine.errors import UsageError, WinnowError, together
from jobs.engine.lock import locked
from jobs.engine.places import look_at, out_file, store_at
from jobs.engine.pool import Pool
from jobs.engine.profile import profile
from jobs.engine.samples import read_samples
from jobs.engine.screen import say, show
from jobs.engine.session import Session, connect
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.class_error import ClassError
from operators.finetune import FACTS
from operators.kernels.bootstrap import Interval, interval
from operators.labels import Labels
from operators.loss import Loss, Precision
from operators.supervised import Template

ADAPTER = "adapter_config.json"


@dataclass(frozen=True, config=STRICT)
class Evaluation:
    """How samples are shown to the model, and how the interval is drawn."""

    template: Template = "tulu"
    max_tokens: Annotated[int, Field(ge=2)] = 2048
    """A sample's tokens after which it is cut."""
    precision: Precision = "auto"
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """The share of draws inside the interval."""
    draws: Annotated[int, Field(ge=1)] = 1000
    seed: Annotated[int, Field(ge=0)] = 0
    max_errors: Annotated[float, Field(ge=0, le=1)] = 0.01
    """The share of samples that may have no loss before the run fails."""


def arguments() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m jobs.evaluate", description="Held-out loss and perplexity.")
    parser.add_argument("model", help="a folder or hub id of a model, or the folder of an adapter")
    parser.add_argument(
        "words", nargs="+", metavar="INPUT... field=value", help="raw files or one ingested pool, and fields"
    )
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--store", help="where losses are kept (default: .winnow in the working directory)")
    parser.add_argument("--profile", help="a file, or a name in cluster/profiles: how to execute")
    return parser


def evaluation(model: str, overrides: Iterable[str]) -> Evaluation:
    """The evaluation with its fields set by `field=value`, template and length as a model's training.json has them."""
    declaration = _declaration(Path(model).expanduser())
    learnt = {name: declaration[name] for name in ("template", "max_tokens") if name in declaration}
    return configured(Evaluation, learnt, overrides)


def losses(model: str, wanted: Evaluation) -> Loss | ClassError:
    """The operator that computes the losses of a model, of an adapter and the base it names, or of a classifier."""
    folder = Path(model).expanduser()
    checkpoint = Checkpoint(str(folder.absolute())) if folder.is_dir() else Checkpoint(model)
    declaration = _declaration(folder)
    if declaration.get("labels"):
        if (folder / ADAPTER).is_file():
            raise UsageError(f"{model} is a classifier's adapter, which is not read here: train it whole, by lora=none")
        labels = declared(Labels, declaration["labels"], "labels.")
        return ClassError(checkpoint, labels, wanted.max_tokens, precision=wanted.precision)
    adapter = None
    if (folder / ADAPTER).is_file():
        base = _json(folder / ADAPTER).get("base_model_name_or_path")
        if not isinstance(base, str):
            raise UsageError(f"{folder / ADAPTER} does not name the model that the adapter is for")
        adapter, checkpoint = checkpoint, Checkpoint(base)
    return Loss(checkpoint, adapter, wanted.template, wanted.max_tokens, wanted.precision)


def checked(model: str, overrides: Iterable[str]) -> tuple[Evaluation, Loss | ClassError]:
    """The evaluation and its operator; ModelMissing where the model, or an adapter's base, is not there."""
    wanted = evaluation(model, overrides)
    operator = losses(model, wanted)
    operator.check()
    return wanted, operator


def _declaration(folder: Path) -> dict[str, Any]:
    """How the model in a folder was trained; empty where that is not known."""
    path = folder / FACTS
    if not path.is_file():
        return {}
    found = _json(path).get("declaration")
    if not isinstance(found, dict):
        raise UsageError(f"{path} does not say how the model was trained: it has no declaration")
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no JSON object")
    return found


def intervals(*columns: np.ndarray, groups: np.ndarray, level: float, draws: int, seed: int) -> list[Interval]:
    """A mean with its interval: of all samples, then of each group, by number.

    columns: (n,), what a sample adds to the sum, and what to the count where that is not 1; a sample that adds nothing
    to it is left out. groups: (n,) the number of its group.
    """
    totals, counts = (*columns, np.ones(len(groups)))[:2]
    chosen = [counts > 0, *((groups == group) & (counts > 0) for group in range(int(groups.max()) + 1))]
    return [interval(totals[rows], counts[rows], level=level, draws=draws, seed=seed) for rows in chosen]


def measures(operator: Loss | ClassError) -> dict[str, tuple[str, ...]]:
    """The columns of each number that is told: what it is the mean of, and what over."""
    if isinstance(operator, Loss):
        return {"loss": ("loss.nll_sum", "loss.tokens")}
    slots = {"slot accuracy": ("loss.slots_right", "loss.slots")} if operator.labels.slots else {}
    return {"loss": ("loss.nll_mean",), "accuracy": ("loss.right",), **slots}


def evaluated(
    operator: Loss | ClassError, wanted: Evaluation, inputs: Sequence[str], session: Session
) -> dict[str, Any]:
    """What the model makes of the inputs, overall and by source."""
    with locked(session.store.url, say):
        connect(session.profile)
        pool = Pool.of(inputs, session).map(loss=operator)
        ids = pool.valid("loss")
        if not len(ids):
            raise WinnowError(f"no sample of {', '.join(inputs)} has a loss")
        tables = read_samples(pool.parts, ids, ["source"])
        sources, groups = np.unique(pa.concat_tables(tables)["source"].to_numpy(), return_inverse=True)
        settings = {"level": wanted.level, "draws": wanted.draws, "seed": wanted.seed}
        found = {
            name: pool.reduce(intervals, *columns, only=ids, groups=groups, **settings)
            for name, columns in measures(operator).items()
        }
        tokens, cut = pool.values("loss.tokens", ids), pool.values("loss.truncated", ids)
    first, *others = (dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True))
    rows = [_row(first, tokens, cut)]
    rows += [_row(each, tokens[groups == at], cut[groups == at]) for at, each in enumerate(others)]
    adapter = operator.adapter if isinstance(operator, Loss) else None
    return {
        "winnow_evaluation": 1,
        "inputs": list(inputs),
        "fields": plain(wanted),
        "operator": {"model": operator.model.identity(), "adapter": adapter and adapter.identity()},
        "pool": pool.facts["fingerprint"],
        "without_loss": pool.samples - len(ids),
        "overall": rows[0],
        "sources": dict(zip(sources.tolist(), rows[1:], strict=True)),
    }


def _row(found: Mapping[str, Interval], tokens: np.ndarray, cut: np.ndarray) -> dict[str, Any]:
    """What is told of some samples; of a language model, whose loss is by token, the perplexity too."""
    told: dict[str, Iterable[float | None]] = dict(found)
    if list(found) == ["loss"]:
        limit = math.log(sys.float_info.max)
        told["perplexity"] = [math.exp(value) if value < limit else None for value in found["loss"]]
    counts = {"samples": len(tokens), "tokens": int(tokens.sum()), "truncated": int(cut.sum())}
    return {**counts, **{name: dict(zip(Interval._fields, each, strict=True)) for name, each in told.items()}}


def _show(facts: dict[str, Any], level: float) -> None:
    """A line a number: a source's counts stand beside the first of its own."""

    def written(value: float | None) -> str:
        return "over 1e308" if value is None else f"{value:,.4g}"

    rows = []
    for source, found in {"all": facts["overall"], **facts["sources"]}.items():
        counts = [source, f"{found['samples']:,}", f"{found['tokens']:,}"]
        for name, value in found.items():
            if isinstance(value, dict):
                estimate, low, high = map(written, value.values())
                rows.append([*counts, name, estimate, f"{low}–{high}"])
                counts = ["", "", ""]
    show("", ["source", "samples", "tokens", "", "estimate", f"{level:.0%} interval"], rows)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    options = arguments().parse_intermixed_args(argv)
    overrides, inputs = fields_and_others(options.words)
    if not inputs:
        raise UsageError("name what to evaluate on: python -m jobs.evaluate MODEL FILE...")
    how, store, (wanted, operator), *_ = together(
        [
            partial(profile, options.profile),
            partial(store_at, options.store),
            partial(checked, options.model, overrides),
            partial(look_at, inputs),
            *([partial(out_file, options.out, inputs)] if options.out else []),
        ]
    )
    session = Session(store, how, max_errors=wanted.max_errors)
    facts = evaluated(operator, wanted, inputs, session)
    shown = f"template {wanted.template}, " if isinstance(operator, Loss) else ""
    say(
        f"evaluate: {shown}{wanted.max_tokens:,} tokens; "
        f"{facts['without_loss']:,} without a loss, {facts['overall']['truncated']:,} cut"
    )
    _show(facts, wanted.level)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        temporary = options.out.with_name(f"{options.out.name}.tmp")
        temporary.write_text(
            json.dumps(
                {"model": options.model, **facts, "command": as_typed("evaluate", argv)}, indent=1, ensure_ascii=False
            )
            + "\n"
        )
        temporary.replace(options.out)
        say(f"{options.out} holds these numbers")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
