"""For every recipe: it does what it declares, its record has all that it was made from, and it is known again."""

import json
from pathlib import Path

import pytest
import yaml

from jobs.engine.command.config import recipe_names
from tests.jobs.corpora import jsonl, records
from tests.jobs.recipes.declared import assert_did_what_it_declares
from tests.servers import prompt, served
from tests.tiny import tiny_causal, tiny_encoder, tiny_reward

pytestmark = pytest.mark.usefixtures("ray_session")

TRAIN = ("epochs=2", "batch=8", "learning_rate=5e-3", "precision=float32", "max_tokens=160")


def corpus() -> list[dict]:
    """Records with what each of the recipes looks for: a class, words with slots, and an answer."""
    made = []
    for row in records(48):
        words = row["instruction"].split()
        slots = ["B-asked", *["O"] * (len(words) - 1)]
        made.append({**row, "words": words, "slots": slots, "intent": ("short", "long")[len(row["output"]) > 20]})
    return made


def reply(request) -> str:
    """What a rewriter, a judge or a model that answers says."""
    asked = prompt(request)
    if "You grade" in asked or "rat" in asked.lower():
        return f"{len(asked) % 6}"
    return f"Revised prompt: say more of {len(asked)}, please." if "You refine" in asked else f"{len(asked)} things."


class Models:
    """The models, target files and the server that recipes are given."""

    def __init__(self, folder: Path, url: str):
        texts = [f"{row['instruction']} {row['output']}" for row in corpus()]
        self.url = url
        self.causal = tiny_causal(folder / "causal", texts)
        self.encoder = tiny_encoder(folder / "encoder", texts)
        self.reward = tiny_reward(folder / "reward")
        self.targets = jsonl(folder / "targets.jsonl", [{**row, "subtask": row["category"]} for row in records(6, "t")])
        for name in ("complexity", "quality"):
            tiny_causal(folder / name, seed=len(name))
            settings = {"template": "{instruction}\nScore: ", "labels": ["1", "2", "3", "4", "5", "6"]}
            (folder / name / "scorer.json").write_text(json.dumps(settings))
        self.scorers = {name: folder / name for name in ("complexity", "quality")}

    def fields(self, recipe: str) -> list[str]:
        """The fields with which a recipe runs on the corpus."""
        return getattr(self, recipe)()

    def _trained(self, *more: str) -> list[str]:
        return [f"train.{each}" for each in (f"base.name={self.causal}", *TRAIN, *more)]

    def at_random(self):
        return ["budget=tokens:300"]

    def longest(self):
        return ["budget=10"]

    def ltd(self):
        return ["budget=6", f"examples={self.targets}"]

    def deft(self):
        return ["budget=20", "label.name=category", "centroids=2"]

    def alpagasus(self):
        return [f"judge.endpoint={self.url}", "judge.model.name=scripted", "threshold=2"]

    def lift(self):
        endpoints = [f"{name}.endpoint={self.url}" for name in ("rewrite", "respond", "judge")]
        return [*endpoints, "rounds=1", "percentile=50", "max_errors=0.5"]

    def deita(self):
        return [f"{name}.model.name={folder}" for name, folder in self.scorers.items()] + ["budget=6"]

    def mods(self):  # test_mods.py has it whole, with the model that answers
        return [f"reward.model.name={self.reward}", "quality=0.5", "seed_share=1", "budget=6"]

    def lobass(self):
        return [*self._trained("lora.rank=4"), "budget=6"]

    def data_diet(self):
        return [*self._trained("lora.rank=4"), "runs=2", "label.name=category"]

    def nlu_diet(self):
        train = [f"train.{each}" for each in (f"base.name={self.encoder}", *TRAIN, "epochs=3", "max_tokens=48")]
        return [*train, "full_epochs=2", "every=1"]

    def less(self):
        return [*self._trained("lora.rank=4"), f"target={self.targets}", "warmup_share=0.7", "budget=6"]


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
    assert [made["found"]["targets"] for made in (first, second)] == [{"all targets": 6}, {"all targets": 9}]

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
