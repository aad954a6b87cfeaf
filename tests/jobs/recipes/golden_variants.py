"""All runs whose outcomes are compared: each recipe's own, by its name, and its variants, `RECIPE-what`.

A variant is there for a branch of the recipe's `select`. One that needs another's features or models comes after it,
so that the store has them.
"""

from pathlib import Path

from tests.jobs.corpora import records
from tests.jobs.recipes.golden_runs import MINILM, PRECISE, Models, Run, exact
from tests.tiny import tiny_causal

BOTH = ("in.jsonl", "chats.jsonl")
SMALL = "lora.rank=4"
CLASSES = ("labels.label=intent", "lora=none")


def runs(models: Models) -> dict[str, Run]:
    """The runs by name."""
    own = [Run(recipe, models.fields(recipe)) for recipe in RECIPES]
    return {run.recipe: run for run in own} | {
        f"{recipe}-{what}": run for recipe, variants in RECIPES.items() for what, run in variants(models).items()
    }


def _at_random(models: Models) -> dict[str, Run]:
    return {"seeded": Run("at_random", ["budget=20%", "seed=7"], BOTH)}


def _longest(models: Models) -> dict[str, Run]:
    return {"tokens": Run("longest", ["budget=tokens:300"], BOTH)}


def _balanced(models: Models) -> dict[str, Run]:
    return {"files": Run("balanced", ["budget=tokens:300", "seed=7"], BOTH)}


def _ifd(models: Models) -> dict[str, Run]:
    fields = models.ifd()
    return {
        "tokens": Run("ifd", [*fields[:2], "budget=tokens:200", "ratio=perplexities", "most=1.5"], BOTH),
        "published": Run("ifd", fields, published=True),
    }


def _perplexity(models: Models) -> dict[str, Run]:
    fields = models.perplexity()
    return {
        "top": Run("perplexity", [*fields, "keep=top"], BOTH),
        "bottom": Run("perplexity", [*fields[:2], "keep=bottom", "budget=tokens:200"]),
        "published": Run("perplexity", fields, published=True),
    }


def _rds(models: Models) -> dict[str, Run]:
    fields = models.rds()
    return {
        "one": Run("rds", [*fields[:2], "subtask=none", "budget=tokens:200"], BOTH),
        "published": Run("rds", fields, published=True),
    }


def _ltd(models: Models) -> dict[str, Run]:
    target = ["label.name=category", "target=bread", PRECISE]
    return {
        "whole": Run("ltd", ["budget=6", PRECISE], BOTH),
        "target": Run("ltd", [*target, "budget=4", "centroids=8"]),
        "label": Run("ltd", [*target, "budget=3", "candidates=label", "first=random", "seed=3"]),
        "tokens": Run("ltd", ["budget=tokens:150", "centroids=5", PRECISE], BOTH),
        "published": Run("ltd", [f"embed.model.name={MINILM}", "budget=6"], published=True),
    }


def _deft(models: Models) -> dict[str, Run]:
    fields = ["label.name=category", "centroids=3"]
    return {
        "easy": Run("deft", [*fields, PRECISE, "budget=50%", "base=0", "hard=0.4"]),
        "pool": Run("deft", [*fields, PRECISE, "budget=12", "ranking=pool", "hard=0.3"]),
        "published": Run("deft", [*fields, f"embed.model.name={MINILM}", "budget=20"], published=True),
    }


def _alpagasus(models: Models) -> dict[str, Run]:
    judged = models.asked("judge")
    named = [*judged, "judge.model.name=scripted"]
    return {
        "fraction": Run("alpagasus", [*named, "fraction=0.3"], BOTH),
        "tokens": Run("alpagasus", [*named, "threshold=1", "budget=tokens:200"]),
        "moody": Run("alpagasus", [*judged, "judge.model.name=moody", "threshold=1", "max_unrated=1"], BOTH),
        "json": Run("alpagasus", [*named, "judge.form=json", "threshold=3", "judge.dimension=helpfulness"]),
        "expectation": Run("alpagasus", [*named, "judge.form=expectation", "threshold=1.9", "budget=8"]),
        "published": Run("alpagasus", [*judged, "threshold=2"], published=True),
        "nothing": Run("alpagasus", [*named, "threshold=100"]),
    }


def _lift(models: Models) -> dict[str, Run]:
    asked = [*models.asked("rewrite", "respond", "judge"), "percentile=50", "max_errors=0.5"]
    return {
        "twice": Run("lift", [*asked, PRECISE, "rounds=2", "max_lost=1"]),
        "original": Run("lift", [*asked, PRECISE, "rounds=2", "start=original", "budget=8", "max_lost=1"]),
        "as_it_is": Run("lift", [*asked, PRECISE, "rounds=0", "budget=tokens:200", "full_length=50"], BOTH),
        "moody": Run("lift", [*asked, PRECISE, "rounds=0", "judge.model.name=moody", "max_unrated=1"], BOTH),
        "published": Run("lift", [*asked, "budget=10", "rounds=1", "max_lost=1", "max_unrated=1"], published=True),
    }


def _deita(models: Models) -> dict[str, Run]:
    scored = models.deita()
    embedded = [f"embed.model.name={models.causal}", "embed.max_tokens=200"]
    return {
        "mean": Run("deita", [*scored, "aggregate=mean", "budget=tokens:200", "threshold=0.6"], BOTH),
        "max": Run("deita", [*scored, "aggregate=max", "acceptance=0.5"], BOTH),
        "last": Run("deita", [*scored, "aggregate=last", "threshold=0.4"], BOTH),
        "published": Run("deita", [*scored, *embedded], BOTH, published=True),
    }


def _mods(models: Models) -> dict[str, Run]:
    """The whole loop is by vLLM, which wants heads of 32 dimensions; the second run finds its answers in the store."""
    fields = [f"reward.model.name={models.reward}", "quality=0.5"]
    folder = Path(models.causal).with_name("answering")
    base = exact(tiny_causal(folder, [f"{row['instruction']} {row['output']}" for row in records(48)], head=32), 512)
    trained = models.trained("epochs=1", "batch=2", SMALL, base=base)
    loop = [*fields, *trained, PRECISE, "answer_tokens=8", "budget=12"]
    published = [*fields, f"embed.model.name={MINILM}", f"train.base.name={base}", "seed_share=1", "budget=6"]
    return {
        "threshold": Run("mods", [fields[0], PRECISE, "threshold=-1", "seed_share=1", "budget=6", "embed.scale=raw"]),
        "random": Run("mods", [*fields, PRECISE, "first=random", "seed_share=1", "budget=6", "seed=5"]),
        "published": Run("mods", published, published=True),
        "loop": Run("mods", [*loop, "need=0.5"]),
        "independent": Run("mods", [*loop, "need=0.8", "second=independent"]),
    }


def _lobass(models: Models) -> dict[str, Run]:
    lora, (one, other) = models.trained(SMALL), models.scorers.values()
    floors = ["least_score=0.0", "least_loss=0.1", "least_tokens=4"]
    return {
        "sums": Run("lobass", [*lora, "budget=6", "version=v1_unnormalised", "reduction=sum"]),
        "floors": Run("lobass", [*lora, "budget=50%", "version=v1_normalised", *floors]),
        "given": Run("lobass", [*lora, "budget=6", f"train.base.name={one}", f"reference.name={other}"]),
        "published": Run(
            "lobass", [*models.trained(), "budget=tokens:200", "share=0.5", "seed=2"], BOTH, published=True
        ),
    }


def _data_diet(models: Models) -> dict[str, Run]:
    lora, published = [*models.trained(SMALL), "runs=2"], [*models.trained(), "runs=1", "share=0.5", "seed=4"]
    classes = [*models.trained("max_tokens=48", *CLASSES, base=models.encoder), "runs=2"]
    return {
        "window": Run("data_diet", [*lora, "keep=window", "offset=0.2", "budget=30%", "aggregate=sum"]),
        "bottom": Run("data_diet", [*lora, "keep=bottom", "budget=tokens:200", "aggregate=fro"]),
        "grand": Run("data_diet", [*lora, "keep=top", "score=grand"]),
        "grand_lora": Run("data_diet", [*lora, "score=grand_lora", "aggregate=sum"]),
        "grand_last": Run("data_diet", [*lora, "score=grand_last", "budget=tokens:300"]),
        "given": Run("data_diet", [*lora, "keep=top", "label.name=category"], trained="data_diet-grand"),
        "classes": Run("data_diet", [*classes, "keep=top", "precision=float32"]),
        "classes_grand": Run("data_diet", [*classes, "score=grand"]),
        "forgetting": Run("data_diet", [*classes, "score=forgetting", "keep=top", "train.epochs=3"]),
        "published": Run("data_diet", published, published=True),
    }


def _nlu_diet(models: Models) -> dict[str, Run]:
    small = models.trained("epochs=3", "max_tokens=48", base=models.encoder)
    return {
        "from_random": Run("nlu_diet", [*small, "full_epochs=0", "every=2", "joint=mean", "smoothing=mean"]),
        "quantile": Run("nlu_diet", [*small, "full_epochs=1", "every=2", "cut=quantile", "offset=0.1", "joint=sum"]),
        "class_alone": Run(
            "nlu_diet",
            [*small, "train.labels.slots=none", "full_epochs=2", "every=1", "smoothing=latest", "choose=random"],
        ),
        "published": Run("nlu_diet", [*small, "full_epochs=2", "every=1"], published=True),
    }


def _less(models: Models) -> dict[str, Run]:
    lora, rest = models.trained(SMALL), [f"target={models.targets}", "warmup_share=0.7", "budget=6"]
    unbatched = [each for each in lora if not each.startswith("train.batch")]
    projected = ["projection.dimensions=64", "epsilon_place=outside", "subtask=category", "train.warmup=0"]
    return {
        "one": Run("less", [*lora, *rest, "subtask=none", "aggregate=cosine_of_mean", "budget=tokens:200"]),
        "published": Run("less", [*unbatched, *rest, *projected], published=True),
    }


def _instructmining(models: Models) -> dict[str, Run]:
    v3, trained = models.instructmining(), models.trained(SMALL)
    v1 = [v3[0], "models=vouched", "rule=v1", f"length_out.model.name={models.causal}", PRECISE]
    files = [f"chosen_on={models.targets}", f"reported_on={models.held_out}"]
    return {
        "v1": Run("instructmining", [*v1, "budget=tokens:200", "neighbour=3"], BOTH),
        "search": Run("instructmining", [*v1, *trained, *files, "size=search", "least=4", "most=24", "trials=3"]),
        "published": Run("instructmining", [*v3, "budget=8"], BOTH, published=True),
    }


RECIPES = {
    "at_random": _at_random,
    "longest": _longest,
    "balanced": _balanced,
    "ifd": _ifd,
    "perplexity": _perplexity,
    "rds": _rds,
    "ltd": _ltd,
    "deft": _deft,
    "alpagasus": _alpagasus,
    "lift": _lift,
    "deita": _deita,
    "mods": _mods,
    "lobass": _lobass,
    "data_diet": _data_diet,
    "nlu_diet": _nlu_diet,
    "less": _less,
    "instructmining": _instructmining,
}
"""What gives the variants of each recipe."""
