"""A command sent to a Ray cluster as a job, after checks, and followed to its end.

    winnow submit --address http://HEAD:8265 -- curate ltd /shared/data.jsonl --out /shared/out --store /shared/winnow
    winnow submit --print -- curate ltd s3://bucket/data.jsonl --out s3://bucket/out --store s3://bucket/winnow

The exit code is that of the command on the cluster. The same command sent twice is one job: the second joins the first.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.engine.terminal.arguments import words_of
from jobs.engine.terminal.errors import UsageError, refuse, together
from jobs.engine.terminal.modules import commands, nearest, recipe_names
from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import exit_code, fields_and_others, program
from jobs.engine.terminal.screen import say

if TYPE_CHECKING:
    from jobs.engine.submission.submission import Submission

ITSELF = ("submit", "check_cluster")
EXECUTION = ("profile",)
"""The options that change how a command runs and not what comes out."""


def arguments() -> Parser:
    parser = Parser(
        prog=program("submit"),
        description="Send a command to a Ray cluster and follow it.",
        epilog=f"The same without checks: `{program('submit')} --print -- COMMAND ...` prints the `ray job submit`.",
    )
    parser.add_argument(
        "--address", metavar="URL", help="the cluster's dashboard, http://HEAD:8265 (default: RAY_API_SERVER_ADDRESS)"
    )
    parser.add_argument("--print", action="store_true", help="print the `ray job submit`, and send nothing")
    parser.add_argument(
        "--working-dir",
        metavar="FOLDER",
        help="the folder whose code is sent (default: this checkout); none: what is installed on the cluster runs",
    )
    parser.add_argument(
        "--runtime-env", metavar="FILE", type=Path, help="Ray's runtime environment (default: cluster/runtime_env.yaml)"
    )
    parser.add_argument("command", nargs="*", metavar="-- COMMAND ...", help="the command and its arguments")
    return parser


def submission(words: Sequence[str], working_dir: str | None, runtime_env: Path | None) -> Submission:
    """The job for a command line. UsageError says all that is wrong with it before a cluster is asked."""
    from jobs.engine.submission.submission import Submission, code_at, environment_in
    from jobs.engine.submission.unshared import unshared

    name, given = words[0].replace("-", "_"), list(words[1:])
    computing = [each for each in commands() if each not in ITSELF]
    if name in ITSELF:
        raise UsageError(f"{name} runs on this machine, and is not sent to a cluster")
    if name not in computing:
        raise UsageError(f"no command {words[0]!r}{nearest(name, computing) or '.'} There are: {', '.join(computing)}")
    module = importlib.import_module(f"jobs.{name}")
    options = module.arguments().parse_intermixed_args(words_of(given)) if hasattr(module, "arguments") else None
    if options is None or not hasattr(options, "profile"):
        raise UsageError(f"{name} computes nothing on a cluster: run it where the files are that it reads")
    label, run, inputs, fields = _asked(name, options)
    code, environment = together([partial(code_at, working_dir), partial(environment_in, runtime_env)])
    refuse(unshared(options, inputs, fields, code, environment.get("excludes") or ()))
    identity = {"command": name, "options": _plain(options, run), "run": run, **_contents(options, run, code)}
    return Submission(label, identity, name, given, code, environment)


def _asked(name: str, options: argparse.Namespace) -> tuple[str, Any, Sequence[str], Sequence[str]]:
    """What a command is called, what its run is, what it reads, and its field=value words."""
    fields, others = fields_and_others(getattr(options, "words", None) or getattr(options, "inputs", []))
    if name != "curate":
        recipes = recipe_names() if name in ("compare", "doctor") else []
        inputs = [each for each in others if each not in recipes]
        return name, {"fields": sorted(fields), "others": others}, inputs, fields

    from jobs import curate
    from jobs.engine.command.config import Asked, build

    request, overrides = curate.asked(options)
    if request.recipe is None or not request.inputs:
        raise UsageError("name a recipe and what to curate: curate RECIPE FILE... --out FOLDER")
    if options.out is None and not options.plan:
        raise UsageError("say where to write: --out FOLDER")
    recipe = build(request.recipe, request, overrides)
    return request.recipe, Asked(request, recipe, vars(options)["out"]).run(), request.inputs, fields


def _plain(options: argparse.Namespace, run: Any) -> dict[str, Any]:
    """The options of a command without those of its execution, and without what `run` has of them."""
    has = {"words", "inputs", *EXECUTION, *(("config", "as_published") if "recipe" in run else ())}
    return {name: _text(value) for name, value in sorted(vars(options).items()) if name not in has}


def _contents(options: argparse.Namespace, run: Any, code: Path | None) -> dict[str, Any]:
    """The hashes of the files that say what a command does, where they are read by the command and not here."""
    named = {name: getattr(options, name, None) for name in ("config", "settings") if "recipe" not in run}
    files = {name: (code or Path()) / given for name, given in named.items() if given}
    found = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items() if file.is_file()}
    return {"contents": found} if found else {}


def _text(value: Any) -> Any:
    """An option as plain JSON holds it; a place is its name."""
    return value if value is None or isinstance(value, str | int | float | list) else str(value)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command. Returns the exit code, which is that of the command on the cluster."""
    words = list(sys.argv[1:] if argv is None else argv)
    dashes = words.index("--") if "--" in words else len(words)
    # The options of the command are not for this parser: some have the names of its own.
    options, others = arguments().parse_known_args(words[:dashes])
    command = words[dashes + 1 :]
    if dashes < len(words) and others:
        arguments().error(f"unrecognized arguments: {' '.join(others)}")
    if others or options.command or not command:
        typed = " ".join([*options.command, *others, *command]) or "curate RECIPE FILE ..."
        raise UsageError(f"put -- before the command: {program('submit')} --address URL -- {typed}")

    job = submission(command, options.working_dir, options.runtime_env)

    from jobs.engine.submission.cluster import address_given, address_of, answering, reached, refuse_other_versions
    from jobs.engine.submission.following import followed, sent
    from jobs.engine.submission.upload import refuse_large

    if options.print:
        say(job.command_line(address_given(options.address)))
        return 0
    checks: list[Callable[[], Any]] = [
        lambda: reached(address_of(options.address)),
        partial(refuse_large, job.working_dir, job.excludes),
    ]
    cluster, _ = together(checks)
    with answering(cluster):
        refuse_other_versions(cluster)
        name = sent(job, cluster)
    return followed(name, cluster)


if __name__ == "__main__":
    sys.exit(exit_code(main))
