"""What a recipe declares of its steps, against what a run of it has recorded."""

from pathlib import Path

import yaml

from jobs.engine.command.config import build, read_request
from jobs.engine.recipe.steps import Later, Reads
from operators.base import Operator


def assert_did_what_it_declares(out: Path) -> dict:
    """The manifest of a run, whose record has the columns, trainings and inputs that its recipe declares, no more."""
    manifest = yaml.safe_load((out / "manifest.yaml").read_text())
    request = read_request(str(out / "manifest.yaml"))
    steps = build(request.recipe or "", request, []).steps()
    verbs = manifest["verbs"]
    mapped = {entry["map"]: entry for entry in verbs if "map" in entry}
    assert set(mapped) == {name for name, step in steps.items() if isinstance(step, Operator | Later)}
    for name, step in steps.items():
        if isinstance(step, Operator):
            assert mapped[name]["fingerprint"] == step.fingerprint()
        elif isinstance(step, Later):
            assert mapped[name]["operator"] == step.operator
    assert any("train" in entry for entry in verbs) == ("train" in steps)
    declared = [manifest["run"]["inputs"], *([step.inputs] for step in steps.values() if isinstance(step, Reads))]
    assert [entry["read"] for entry in verbs if "read" in entry] == declared
    return manifest
