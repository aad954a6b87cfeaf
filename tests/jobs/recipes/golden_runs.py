"""The runs whose outcomes are kept as they are: of each recipe one by its own name, and more for its other branches.

Weights are exact fractions drawn by integers, so that the models' contents, and with them the fingerprints, are the
same on every machine.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.jobs.corpora import jsonl, records
from tests.servers import prompt, said
from tests.tiny import tiny_causal, tiny_encoder, tiny_reward, tiny_unieval

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
PRECISE = "embed.precision=float32"
"""By itself the embedder computes in bfloat16 on CPUs that multiply it, and in float32 on others."""

TRAIN = ("epochs=2", "batch=8", "learning_rate=5e-3", "precision=float32", "max_tokens=160")
SCORE = {"template": "{instruction}\nScore: ", "labels": ["1", "2", "3", "4", "5", "6"]}


class Run(NamedTuple):
    """A command line of `winnow curate`, but for where it writes to."""

    recipe: str
    fields: list[str]
    inputs: tuple[str, ...] = ("in.jsonl",)
    published: bool = False
    trained: str = ""
    """The name of the run whose trained models it takes."""

    def words(self, out: Path) -> list[str]:
        """Its words, with the folder that it writes to; the run whose models it takes has written beside that."""
        more = ["--as-published"] if self.published else []
        if self.trained:
            more.append(f"trained=[{', '.join(last_epochs(out.parent / self.trained))}]")
        return [self.recipe, *self.inputs, "--out", str(out), *more, *self.fields]


def last_epochs(out: Path) -> Iterator[str]:
    """The folder of the last epoch of each training of a run."""
    import yaml

    for entry in yaml.safe_load((out / "manifest.yaml").read_text())["verbs"]:
        if "train" in entry:
            yield f"{entry['folder']}/epoch-{entry['epochs']}"


def corpus() -> list[dict]:
    """Records with what each of the recipes looks for: a class, words with slots, and an answer."""
    made = []
    for row in records(48):
        words = row["instruction"].split()
        slots = ["B-asked", *["O"] * (len(words) - 1)]
        made.append({**row, "words": words, "slots": slots, "intent": ("short", "long")[len(row["output"]) > 20]})
    return made


def chats() -> list[dict]:
    """Conversations of one to three turns, some with a system message or a question that nobody answers; one twice."""
    made = []
    for i, row in enumerate(records(20, "c")):
        messages = [{"role": "system", "content": "Be brief."}] if i % 4 == 3 else []
        for turn in range(1 + i % 3):
            asked = {"role": "user", "content": f"{row['instruction']} ({i}, {turn})"}
            messages += [asked, {"role": "assistant", "content": f"{row['output']}{turn}"}]
        if i % 5 == 4:
            messages.append({"role": "user", "content": "And then?"})
        made.append({"messages": messages, "category": row["category"], "number": 100 + i})
    return [*made, made[0]]


def reply(request: dict[str, Any]) -> Any:
    """What a rewriter, a judge or a model that answers says; the model "moody" keeps some of its ratings to itself."""
    asked = prompt(request)
    if "response_format" in request:
        return json.dumps({"score": len(asked) % 6})
    if request.get("logprobs"):
        return said("3", masses={"3": 0.5, str(len(asked) % 3): 0.25})
    if "You grade" in asked or "rat" in asked.lower():
        return "I will not say." if request["model"] == "moody" and len(asked) % 7 == 0 else f"{len(asked) % 6}"
    return f"Revised prompt: say more of {len(asked)}, please." if "You refine" in asked else f"{len(asked)} things."


def exact(folder: Path, parts: int, seed: int = 0) -> Path:
    """The model's folder, with weights that are whole multiples of 1 / parts, of which every machine makes the same."""
    from safetensors.numpy import load_file, save_file

    rng = np.random.default_rng(seed)
    weights = load_file(folder / "model.safetensors")
    for name in sorted(weights):
        if "norm" not in name.lower():
            weights[name] = (rng.integers(-64, 65, weights[name].shape) / parts).astype(np.float32)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    for path in folder.glob("*config.json"):
        content = json.loads(path.read_text())
        content.pop("transformers_version", None)
        path.write_text(json.dumps(content, sort_keys=True))
    return folder


class Models:
    """The models, target files and the server that recipes are given, and the runs with them."""

    def __init__(self, folder: Path, url: str):
        texts = [f"{row['instruction']} {row['output']}" for row in corpus()]
        self.url = url
        self.causal = exact(tiny_causal(folder / "causal", texts), 256)
        self.encoder = exact(tiny_encoder(folder / "encoder", texts), 1024)
        self.reward = exact(tiny_reward(folder / "reward"), 256)
        self.unieval = exact(tiny_unieval(folder / "unieval"), 256)
        self.targets = jsonl(folder / "targets.jsonl", [{**row, "subtask": row["category"]} for row in records(6, "t")])
        self.held_out = jsonl(folder / "held_out.jsonl", records(5, "h"))
        for seed, name in enumerate(("complexity", "quality"), start=1):
            exact(tiny_causal(folder / name), 256, seed)
            (folder / name / "scorer.json").write_text(json.dumps(SCORE))
        self.scorers = {name: folder / name for name in ("complexity", "quality")}

    def fields(self, recipe: str) -> list[str]:
        """The fields with which a recipe runs on the corpus."""
        return getattr(self, recipe)()

    def trained(self, *more: str, base: Path | None = None) -> list[str]:
        """The fields of a small training."""
        return [f"train.{each}" for each in (f"base.name={base or self.causal}", *TRAIN, *more)]

    def asked(self, *roles: str) -> list[str]:
        """The fields by which the scripted server is asked."""
        return [f"{role}.endpoint={self.url}" for role in roles]

    def at_random(self):
        return ["budget=tokens:300"]

    def longest(self):
        return ["budget=10"]

    def balanced(self):
        return ["budget=12", "source=category"]

    def ifd(self):
        return [f"loss.model.name={self.causal}", "loss.max_tokens=160", "budget=6"]

    def perplexity(self):
        return [f"loss.model.name={self.causal}", "loss.max_tokens=160", "budget=6"]

    def rds(self):
        return [f"hidden.model.name={self.causal}", f"target={self.targets}", "budget=6"]

    def ltd(self):
        return ["budget=6", f"examples={self.targets}", "centroids=5", PRECISE]

    def deft(self):
        return ["budget=20", "label.name=category", "centroids=2", PRECISE]

    def alpagasus(self):
        return [*self.asked("judge"), "judge.model.name=scripted", "threshold=2"]

    def lift(self):
        return [*self.asked("rewrite", "respond", "judge"), "rounds=1", "percentile=50", "max_errors=0.5", PRECISE]

    def deita(self):
        return [f"{name}.model.name={folder}" for name, folder in self.scorers.items()] + ["budget=6", PRECISE]

    def mods(self):  # test_mods.py has it whole, with the model that answers
        return [f"reward.model.name={self.reward}", "quality=0.5", "seed_share=1", "budget=6", PRECISE]

    def lobass(self):
        return [*self.trained("lora.rank=4"), "budget=6"]

    def data_diet(self):
        return [*self.trained("lora.rank=4"), "runs=2", "label.name=category"]

    def nlu_diet(self):
        return [*self.trained("epochs=3", "max_tokens=48", base=self.encoder), "full_epochs=2", "every=1"]

    def less(self):
        return [*self.trained("lora.rank=4"), f"target={self.targets}", "warmup_share=0.7", "budget=6"]

    def instructmining(self):
        models = [f"{name}.model.name={getattr(self, name)}" for name in ("reward", "unieval")]
        return [*models, "models=vouched", "budget=6"]
