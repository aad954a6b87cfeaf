"""The kept samples of a run as a trainer or the Hugging Face hub reads them.

    winnow export out/ltd --to llamafactory
    winnow export out/ltd --to trl --out data/ltd
    winnow export out/ltd --to hub --repo me/ltd --dry-run

For a trainer, the folder gets the samples, best first, in a .jsonl file, and a configuration that names it. Everything
is read from the folder of the run, so its pool may be gone. For the hub, parquet shards and the run's dataset card are
uploaded to a repository, which is private unless --public is given; --dry-run says what would be uploaded.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from jobs.engine.terminal.arguments import COLUMNS, columns_given, shared_options, words_of
from jobs.engine.terminal.errors import UsageError, together
from jobs.engine.terminal.modules import nearest
from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import exit_code, program
from jobs.engine.terminal.screen import say, show

if TYPE_CHECKING:
    from jobs.engine.export.hub import Repository
    from jobs.engine.export.kept import Kept
    from jobs.engine.store.folder import Folder

TARGETS = ("llamafactory", "axolotl", "trl", "open-instruct", "ms-swift", "hub")


def arguments() -> Parser:
    parser = Parser(
        prog=program("export"),
        description="Write the kept samples of a run for a trainer or the hub.",
        parents=[shared_options("--out")],
    )
    parser.add_argument("folder", help="the output folder of a run, or its URL")
    parser.add_argument("--to", required=True, metavar="TARGET", help=f"who reads them: {', '.join(TARGETS)}")
    parser.add_argument("--columns", **COLUMNS)
    hub = parser.add_argument_group("for --to hub")
    hub.add_argument("--repo", metavar="OWNER/NAME", help="the repository")
    hub.add_argument("--public", action="store_true", help="make the repository public")
    hub.add_argument("--dry-run", action="store_true", help="say what would be uploaded, without network")
    return parser


def _target(options: argparse.Namespace) -> str:
    """The target. UsageError where there is no such one, or where options of the hub are given for a trainer."""
    if options.to not in TARGETS:
        raise UsageError(
            f"no target {options.to!r}{nearest(options.to, TARGETS) or '.'} There are: {', '.join(TARGETS)}"
        )
    given = [f"--{name.replace('_', '-')}" for name in ("repo", "public", "dry_run") if getattr(options, name)]
    if given and options.to != "hub":
        raise UsageError(f"{given[0]} is for --to hub, not for --to {options.to}")
    return options.to


def _out(options: argparse.Namespace) -> Folder:
    from jobs.engine.command.places import out_folder
    from jobs.engine.store.folder import Folder

    run = Folder.at(options.folder)
    out = out_folder(options.out or f"{run.url}-{options.to}")
    if f"{out.url}/".startswith(f"{run.url}/"):
        raise UsageError(f"--out {out} is in the folder of the run; name another folder")
    return out


def _for_trainer(kept: Kept, trainer: str, out: Folder) -> None:
    from jobs.engine.export.trainer import export_for

    done = export_for(trainer, kept, out)
    for reason, (count, line) in done.left_out.items():
        say(f"left out {count:,}: {reason} (the first is {kept.folder}/selected.jsonl:{line})")
    if done.media:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in done.media.items())
        say(f"not in the data: {counts}; the texts have a placeholder such as <image>, or nothing, in their place")
    data, configuration = (f"{out}/{path.rpartition('/')[2]}" for path in (done.data, done.configuration))
    say(f"{done.written:,} of {kept.count:,} samples are in {data}; {configuration} names them for {trainer}")


def _repository(options: argparse.Namespace) -> Repository | None:
    """The repository on the hub; None for a trainer. UsageError where it is not named, or no user is logged in."""
    from jobs.engine.export.hub import checked_repository, with_token

    if options.to != "hub":
        return None
    repository = checked_repository(options.repo, "public" if options.public else "private")
    return repository if options.dry_run else with_token(repository)


def _for_hub(kept: Kept, repository: Repository, out: Folder) -> None:
    from jobs.engine.export.hub import push, sizes, write_repository
    from jobs.engine.export.trainer import new_folder

    with new_folder(out):
        texts = write_repository(kept, out)
    if texts:
        say(f"written as JSON text, because their values differ in type: {', '.join(texts)}")
    show("", ["file", "bytes"], [[file, f"{size:,}"] for file, size in sizes(out).items()])
    if repository.token is None:
        say(f"{kept.count:,} samples would go to {repository.name} ({repository.visibility}); nothing was uploaded")
        return
    say(f"{kept.count:,} samples are in {repository.name} ({repository.visibility}): {push(out, repository)}")


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments().parse_args(words_of(argv))

    from jobs.engine.command.places import place_of_run
    from jobs.engine.export.kept import Kept
    from jobs.engine.store.folder import Folder

    columns = None if options.columns is None else columns_given(options.columns)
    target, kept, repository = together(
        [
            partial(_target, options),
            lambda: Kept.of(place_of_run(options.folder), columns),
            partial(_repository, options),
        ]
    )
    if repository is None:
        _for_trainer(kept, target, _out(options))
        return 0
    with tempfile.TemporaryDirectory() as spare:
        out = _out(options) if options.out else Folder.at(spare)
        if not out.local:
            raise UsageError(f"--out {options.out}: name a folder of this machine; the hub is sent to from there")
        _for_hub(kept, repository, out)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
