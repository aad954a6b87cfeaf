"""A fit of a rule, from its inputs to what it leaves: rule.json, fit_runs.parquet, report.html and manifest.yaml."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.command.config import configured
from jobs.engine.execute.session import Session
from jobs.engine.execute.starting import started
from jobs.engine.outcome.manifest import claimed, counts, ending, wanted_of, write_manifest
from jobs.engine.pool.pool import Pool
from jobs.engine.pool.subset import Subset
from jobs.engine.recipe.steps import checked
from jobs.engine.report.rule_page import write_rule_page
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.screen import say
from jobs.methods.held_out import HeldOut
from jobs.methods.instructmining.indicators import measured
from jobs.methods.instructmining.rule_fitting import (
    Fitted,
    RuleFit,
    Run,
    doubts,
    fine_tuned,
    fitted,
    rule_content,
)
from jobs.methods.sources import Sources
from operators.kernels.correlation import spearman


def checked_fit(overrides: Iterable[str]) -> RuleFit:
    """The fit with its fields set by `field=value`; ModelMissing or UsageError where it cannot run."""
    wanted = configured(RuleFit, {}, overrides)
    checked([*wanted.operators(wanted.indicators).values(), wanted.train], wanted)
    return wanted


def fit_rule(wanted: RuleFit, inputs: Sequence[str], held_out: str, out: Folder, session: Session) -> Fitted:
    """Trains on all sets, fits the rule, and writes it into `out`. UsageError where `out` holds another run."""
    began = time.monotonic()
    with started(session, {**wanted.operators(wanted.indicators), "training": wanted.train}):
        pool = Pool.of(inputs, session)
        run = wanted_of("fit_rule", inputs, wanted, session)
        identity = claimed("winnow_rule_fit", {**run, "fields": {**run["fields"], "heldout": held_out}}, pool, out)
        deciding = HeldOut.read(pool, held_out)
        scored, facts = measured(pool, wanted, wanted.indicators)
        sources = Sources.read(scored, wanted.source).named_by(wanted.source)
        runs = fine_tuned(scored, sources, wanted, deciding)
    found = fitted(runs, wanted)
    correlation = _length_correlation(found, scored)
    content = rule_content(found, wanted, held_out, correlation)
    doubted = list(doubts(found, correlation))
    out.write("rule.json", json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
    _write_runs(runs, out)
    write_rule_page(
        out,
        rule=found.rule,
        fits=found.fits,
        means={name: np.array([run.means[name] for run in runs]) for name in wanted.indicators},
        losses=np.array([run.loss for run in runs]),
        doubts=doubted,
        left_out=found.constant,
        summary=content["provenance"],
        command=session.command,
    )
    manifest = {
        **identity,
        "counts": counts(pool),
        "found": {**facts, "sources": len(sources.names), "doubts": doubted, "left_out": list(found.constant)},
        **ending(session, began),
    }
    write_manifest(out, manifest)
    for doubt in doubted:
        say(f"beware: {doubt}")
    return found


def _length_correlation(found: Fitted, scored: Subset) -> float | None:
    """Spearman's correlation of the samples' predicted loss with the tokens of their responses; None without these."""
    if "len_out" not in scored.columns:
        return None
    terms = [each.value * scored.values(name) for name, each in found.rule.coefficients.items()]
    correlation = spearman(np.sum(terms, axis=0), scored.values("len_out"))
    return float(correlation) if np.isfinite(correlation) else None


def _write_runs(runs: Sequence[Run], out: Folder) -> None:
    """Writes fit_runs.parquet. A row has a set's number, loss, means of the indicators and shares of the sources."""
    shares = [[{"source": name, "share": share} for name, share in sorted(run.shares.items())] for run in runs]
    rows = [{**asdict(run), "shares": each} for run, each in zip(runs, shares, strict=True)]
    table = pa.Table.from_pylist(rows)
    with out.writing("fit_runs.parquet") as file:
        pq.write_table(table, file)
