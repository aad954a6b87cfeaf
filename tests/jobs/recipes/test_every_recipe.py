"""For every recipe: it does what it declares, gives what it gave before, has all in its record, and is known again."""

from pathlib import Path

import pytest
import yaml

from jobs.engine.terminal.modules import recipe_names
from tests.jobs.corpora import jsonl, records
from tests.jobs.recipes.declared import assert_did_what_it_declares
from tests.jobs.recipes.golden import assert_as_before
from tests.jobs.recipes.golden_runs import Models, corpus, reply
from tests.servers import served
from tests.tiny import tiny_causal

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    with served(reply) as server:
        yield Models(tmp_path_factory.mktemp("models"), server.url)


@pytest.mark.parametrize("recipe", recipe_names())
def test_a_recipe_does_what_it_declares_and_is_known_again_by_its_record(run, tmp_path, models, recipe):
    jsonl(tmp_path / "in.jsonl", corpus())
    words = (recipe, "in.jsonl", "--out", "out", *models.fields(recipe))
    code, said = run(*words)
    assert code == 0, said
    manifest = assert_did_what_it_declares(tmp_path / "out")
    assert_as_before(recipe, tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    for entry in manifest["verbs"]:
        assert entry.get("fingerprint", "")[:16] in card or "read" in entry
    code, said = run(*words)
    assert code == 0
    assert "out holds this very run" in said


def test_a_run_is_made_again_where_a_target_file_or_a_model_has_other_contents(run, tmp_path, models):
    jsonl(tmp_path / "in.jsonl", corpus())
    target = jsonl(tmp_path / "t.jsonl", records(6, "t"))
    base = tiny_causal(tmp_path / "base", [row["output"] for row in corpus()])
    fields = [each for each in models.less() if not each.startswith(("target=", "train.base"))]
    less = ("less", "in.jsonl", "--out", "out", *fields, f"target={target}", f"train.base.name={base}", "subtask=none")
    ltd = ("ltd", "in.jsonl", "--out", "covered", "budget=6", f"examples={target}")
    for words in (less, ltd):
        code, said = run(*words, store="own")
        assert code == 0, said
        assert "holds this very run" in run(*words, store="own")[1]
    first = yaml.safe_load((tmp_path / "out/manifest.yaml").read_text())

    jsonl(Path(target), records(9, "another"))
    for words in (less, ltd):
        code, said = run(*words, store="own")
        assert code == 0, said
        assert f"before {target} changed: running again" in said
        assert "holds this very run" in run(*words, store="own")[1]
    second = yaml.safe_load((tmp_path / "out/manifest.yaml").read_text())
    counts = [made["found"]["targets per subtask"] for made in (first, second)]
    assert counts == [{"all targets": 6}, {"all targets": 9}]

    tiny_causal(base, [row["output"] for row in corpus()], seed=7)
    code, said = run(*less, store="own")
    assert code == 0, said
    assert f"before {base} changed: running again" in said
    trained = [
        next(entry["fingerprint"] for entry in made["verbs"] if "train" in entry)
        for made in (second, yaml.safe_load((tmp_path / "out/manifest.yaml").read_text()))
    ]
    assert trained[0] != trained[1]


def test_the_card_and_the_report_of_less_name_its_base_epochs_and_targets(run, tmp_path, models):
    jsonl(tmp_path / "in.jsonl", corpus())
    code, said = run("less", "in.jsonl", "--out", "out", *models.less())
    assert code == 0, said
    manifest = yaml.safe_load((tmp_path / "out/manifest.yaml").read_text())
    (training,) = (entry for entry in manifest["verbs"] if "train" in entry)
    targets = next(entry for entry in manifest["verbs"] if entry.get("read") == [models.targets])
    content = training["made_of"][0]["identity"]["content"]
    for page in ("README.md", "report.html"):
        text = (tmp_path / "out" / page).read_text()
        assert f"{models.causal} (content {content[:16]})" in text
        assert f"training, 2 epochs on {training['samples']} samples" in text
        assert "Read besides" in text
        assert targets["sources"][0]["sha256"] in text


def test_a_plan_shows_every_step_of_a_recipe_that_trains(run, tmp_path, models):
    jsonl(tmp_path / "in.jsonl", corpus())
    code, said = run("less", "in.jsonl", "--plan", *models.less())
    assert code == 0, said
    for shown in ("epoch_1", "epoch_2", "Gradient", "once trained", f"target: {models.targets}"):
        assert shown in said
    assert f"train: {models.causal} would be trained for 2 epochs" in said
