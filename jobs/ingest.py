"""Raw files to a pool: unique valid samples with dense ids, and the records set aside with the reasons.

    winnow ingest data.jsonl more/*.parquet --out pool
    winnow ingest odd.jsonl --out pool --columns instruction=question response=answer
    winnow ingest a.jsonl b.jsonl --out pool --near-duplicates 0.9 --decontaminate test.jsonl --mix a=0.3 b=0.7

Records that cannot be read, or that have no answer, are set aside in quarantine.jsonl with the reason. Every other
command takes a pool in place of raw files. Ingest a large corpus once, and give the pool to the other commands.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from jobs.engine.terminal.arguments import MAX_UNREADABLE, reading_given, reading_options, shared_options, words_of
from jobs.engine.terminal.errors import NothingSelected, UsageError, together
from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import exit_code, program
from jobs.engine.terminal.screen import say, show

SHOWN = 20
"""The most rows of the table of sources."""


def arguments() -> Parser:
    parser = Parser(
        prog=program("ingest"),
        description="Make a pool from raw files.",
        parents=[shared_options("--profile"), reading_options()],
    )
    parser.add_argument("inputs", nargs="+", help="files, folders, globs, URLs, or datasets of the hub")
    parser.add_argument("--out", required=True, help="the pool's folder, or its URL")
    return parser


def listed(sources: Sequence[Mapping[str, Any]], states: Sequence[str]) -> list[list[str]]:
    """The rows of the table of sources: the first ones, and one for all the others together."""
    shown = sources if len(sources) <= SHOWN else sources[: SHOWN - 1]
    rows = [[each["uri"], *(f"{each[state]:,}" for state in states)] for each in shown]
    if others := sources[len(shown) :]:
        rows.append([f"{len(others):,} others", *(f"{sum(each[state] for each in others):,}" for state in states)])
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments().parse_args(words_of(argv))

    from jobs.engine.command.places import look_at, out_pool
    from jobs.engine.execute.profile import profile
    from jobs.engine.execute.session import connect
    from jobs.engine.ingest import ingest, ingest_key, refuse_foreign, settings_of
    from jobs.engine.ingest.checked import refuse_other_sources
    from jobs.engine.ingest.findings import STATES, is_over, nothing_left, refuse_unreadable, say_reasons
    from jobs.engine.samples.pool_folder import facts_in, is_pool
    from jobs.engine.store.lock import locked

    how, out, settings, _ = together(
        [
            partial(profile, options.profile),
            partial(out_pool, options.out),
            lambda: settings_of(reading_given(options)),
            partial(look_at, options.inputs),
        ]
    )
    refuse_other_sources(options.inputs, settings)
    if is_pool(out.url):
        facts = facts_in(out.url)
        was_refused = is_over(facts, MAX_UNREADABLE) and facts.get("key") == ingest_key(options.inputs, settings)
        if not was_refused:
            raise UsageError(f"{options.out} holds a pool already; give another --out")
        say(f"{options.out} holds the pool of these inputs already")
        say_reasons(facts, options.out, say)
    else:
        refuse_foreign(out)
        with locked(out.url, say):
            connect(how, out)
            facts = ingest(options.inputs, out.url, settings=settings, say=say)
    show("", ["source", *STATES], listed(facts["sources"], STATES))
    say(
        f"{facts['samples']:,} samples of {facts['records']:,} records are in {options.out}; "
        f"{options.out}/quarantine.jsonl has the {facts['quarantined']:,} that were set aside"
    )
    if not facts["samples"]:
        raise NothingSelected(nothing_left(facts))
    refuse_unreadable(facts, options.out, options.max_unreadable)
    say(f"to select from them: winnow curate ltd {options.out} --out FOLDER budget=5%; winnow recipes has all methods")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
