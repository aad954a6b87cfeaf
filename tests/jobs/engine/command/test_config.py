"""From words and YAML to a recipe, and what is refused."""

from dataclasses import replace

import pytest
import yaml
from pydantic import TypeAdapter

from jobs.curate import arguments, asked
from jobs.engine.command.config import Request, build, read_request, recipe_class
from jobs.engine.execute.profile import profile
from jobs.engine.recipe.budget import Budget
from jobs.engine.recipe.steps import checked
from jobs.engine.record.declarations import plain
from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.modules import recipe_names
from jobs.methods.evolution.declaration import evolution
from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from operators.losses.loss import Loss
from operators.missing import ModelMissing
from operators.training.finetune import Finetune, LoRA
from tests.tiny import tiny_causal


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("6000", "6000"),
        (6000, "6000"),
        ("6_000", "6000"),
        ("5%", "5%"),
        ("0.5%", "0.5%"),
        ("5.0 %", "5%"),
        ("tokens:200k", "tokens:200000"),
        ("tokens:1.5M", "tokens:1500000"),
        ("tokens:7", "tokens:7"),
        ("1,000", "1000"),
        ("12,345,678", "12345678"),
        ("tokens:1,500k", "tokens:1500000"),
        ("0100", "100"),
    ],
)
def test_budget_has_one_spelling(given, text):
    assert TypeAdapter(Budget).validate_python(given) == text


@pytest.mark.parametrize(
    "given",
    ["0", 0, "-3", "0%", "101%", "many", "5.5", "tokens:", "tokens:0", "tokens:0.4", True, 2.5, "nan", "", "1e9999999"],
)
def test_budget_that_makes_no_sense_is_refused(given):
    with pytest.raises(UsageError, match=r"budget"):
        build("at_random", Request(fields={"budget": given}), [])


@pytest.mark.parametrize("given", ["2,5%", "2,50%", "1,00", "1,0000", "0,500", "tokens:1,5k", "12,34,567"])
def test_budget_with_a_comma_that_groups_no_thousands_is_refused_with_how_to_write_it(given):
    with pytest.raises(UsageError, match=r"A comma only separates thousands .*: write 2\.5%, not 2,5%"):
        build("at_random", Request(), [f"budget={given}"])


@pytest.mark.parametrize(("text", "seed"), [("0100", 100), ("010", 10), ("1_000", 1000)])
def test_a_number_is_read_as_it_is_written_and_not_as_octal(text, seed):
    assert build("at_random", Request(), [f"seed={text}"]).seed == seed
    assert build("at_random", Request(), [f"budget={text}"]).budget == str(seed)


@pytest.mark.parametrize(
    ("recipe", "override"),
    [
        ("at_random", "seed=-1"),
        ("at_random", "seed=1:30"),
        ("at_random", "max_errors=1.01"),
        ("at_random", "max_errors=-0.1"),
        ("at_random", "max_errors=nan"),
        ("alpagasus", "threshold=nan"),
        ("alpagasus", "threshold=inf"),
        ("alpagasus", "judge.seed=-1"),
        ("alpagasus", "judge.temperature=nan"),
        ("lift", "rewrite.temperature=-1"),
        ("lift", "respond.max_tokens=0"),
        ("mods", "need_threshold=-inf"),
        ("lobass", "least_score=nan"),
        ("less", "train.learning_rate=inf"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused_with_its_field(recipe, override):
    with pytest.raises(UsageError, match=override.partition("=")[0]):
        build(recipe, Request(), [override])


def test_a_decimal_comma_in_any_number_is_refused_with_how_to_write_it():
    with pytest.raises(UsageError, match=r"threshold=4,5: .* write numbers without a comma, as in 4\.5"):
        build("alpagasus", Request(), ["threshold=4,5"])


def test_an_evolution_s_seeds_and_share_of_errors_are_looked_at_like_a_recipe_s():
    for override in ("seed=-1", "max_errors=2", "rewriter.seed=-1", "judge.seed=-1"):
        with pytest.raises(UsageError, match=override.partition("=")[0]):
            evolution("complexity", [override])


def test_all_wrong_fields_are_told_at_once():
    with pytest.raises(UsageError) as refused:
        build("at_random", Request(), ["budget=2,5%", "seed=-1", "bugdet=3"])
    assert all(told in str(refused.value) for told in ("budget=2,5%", "seed: ", "'bugdet'"))


def test_every_recipe_module_defines_one_recipe_with_a_docstring():
    for name in recipe_names():
        assert recipe_class(name).__doc__


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(UsageError, match=r"no recipe 'ldt'; did you mean 'ltd'\? There are: alpagasus, at_random"):
        recipe_class("ldt")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("embed.model=x", r"it has fields of its own: write embed.model.name=VALUE \(revision likewise\)"),
        ("budget=0.05", r"A share is written as a percentage: 5%"),
        ("bugdet=5", r"unknown field 'bugdet'; did you mean 'budget'\?"),
        ("embed.modle.name=x", r"unknown field 'embed.modle.name'; did you mean 'model'\?"),
        ("seed.x=3", r"unknown field 'seed.x': seed has no fields of its own"),
        ("seed=three", r"seed=three: Input should be a valid integer"),
        ("first=middle", r"first=middle: Input should be 'center' or 'random'"),
        ("embed.text={answer}", r"embed.text=\{answer\}: .*unknown field \{answer\}"),
        ("embed=3", r"embed"),
    ],
)
def test_wrong_override_is_refused_with_its_name(override, message):
    with pytest.raises(UsageError, match=message):
        build("ltd", Request(), [override])


def test_lists_and_mappings_are_read_as_the_tuples_and_declarations_of_their_fields():
    labels = ["1", "2"]
    in_yaml = build("deita", Request(fields={"complexity": {"labels": labels}, "max_errors": 1}), [])
    assert (in_yaml.complexity.labels, in_yaml.max_errors) == (("1", "2"), 1.0)
    assert build("deita", Request(), ['complexity.labels=["1", "2"]']).complexity.labels == ("1", "2")
    assert build("less", Request(), ["train.lora={rank: 4}"]).train.lora == LoRA(rank=4)
    assert build("ltd", Request(), ["target={a: b}"]).target == "{a: b}"
    assert build("ltd", Request(), ["target=2024-01-01"]).target == "2024-01-01"


def test_each_wrong_field_of_a_configuration_is_told_by_its_dotted_name():
    fields = {"embed": {"modle": {"name": "x"}, "pooling": "max"}, "seed": "1", "max_errors": True, "examples": 3}
    with pytest.raises(UsageError) as refused:
        build("ltd", Request(fields=fields), [])
    assert [line.partition(":")[0].partition(";")[0] for line in str(refused.value).splitlines()] == [
        "seed",
        "max_errors",
        "embed.pooling",
        "unknown field 'embed.modle'",
        "examples",
    ]


def test_later_sources_win_and_nested_fields_keep_the_recipe_s_defaults():
    request = Request(fields={"seed": 1, "embed": {"pooling": "cls"}})
    recipe = build("deft", request, ["seed=2", "embed.max_tokens=99"])
    assert (recipe.seed, recipe.embed.pooling, recipe.embed.max_tokens) == (2, "cls", 99)
    assert recipe.embed.text == "{instruction}"


def test_as_published_sets_the_published_fields_and_overrides_still_win():
    recipe = build("ltd", Request(as_published=True), ["embed.max_tokens=64"])
    assert recipe.embed.model.name == "google-bert/bert-base-uncased"
    assert (recipe.budget, recipe.embed.max_tokens) == ("0.5%", 64)


def test_every_recipe_that_embeds_does_so_in_float32_as_published():
    recipes = {name: build(name, Request(as_published=True), []) for name in recipe_names()}
    embeds = {name: each for name, recipe in recipes.items() for each in vars(recipe).values() if type(each) is Embed}
    assert {"deft", "deita", "lift", "ltd", "mods"} <= set(embeds)
    assert {(each.precision, each.stored) for each in embeds.values()} == {("float32", "float32")}


def test_published_precisions_and_batches_are_those_of_the_released_code():
    recipes = {name: build(name, Request(as_published=True), []) for name in recipe_names()}
    assert recipes["deita"].complexity.precision == recipes["deita"].quality.precision == "float32"
    assert (recipes["data_diet"].precision, recipes["data_diet"].train.batch) == ("float32", 128)
    assert (recipes["mods"].reward.precision, recipes["mods"].train.batch) == ("float32", 512)


def test_all_that_is_wrong_with_a_run_is_said_together(tmp_path):
    base = Checkpoint(str(tiny_causal(tmp_path / "base")))
    missing = Embed(model=Checkpoint(str(tmp_path / "nowhere")))
    wrong = [Loss(base, max_tokens=257), missing, Finetune(base, max_tokens=300), Loss(base, max_tokens=257)]
    with pytest.raises(UsageError) as caught:
        checked([Loss(base), *wrong])
    told = str(caught.value).splitlines()
    assert [line.split(",")[0] for line in (told[0], told[2])] == ["max_tokens=257", "max_tokens=300"]
    assert "nowhere" in told[1]
    assert len(told) == 3
    with pytest.raises(ModelMissing, match="nowhere"):
        checked([Loss(base), missing])


def test_fields_go_through_yaml_and_back():
    for name in recipe_names():
        recipe = build(name, Request(), [])
        fields = yaml.safe_load(yaml.safe_dump(plain(recipe)))
        assert build(name, Request(fields=fields), []) == recipe


def test_string_fields_take_what_yaml_would_read_as_something_else():
    assert build("ltd", Request(), ["target=2024"]).target == "2024"
    assert build("ltd", Request(), ["target=no"]).target == "no"


@pytest.mark.fault(
    "weights or settings carry code",
    how="a YAML file with !!python/object",
    holds="refused as YAML that cannot be read",
)
def test_config_file_with_an_unknown_key_is_refused(tmp_path):
    (tmp_path / "c.yaml").write_text("recipe: ltd\ninput: [a.json]\n")
    with pytest.raises(UsageError, match=r"unknown key 'input'; did you mean 'inputs'\?"):
        read_request(str(tmp_path / "c.yaml"))
    (tmp_path / "c.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(UsageError, match="is not YAML"):
        read_request(str(tmp_path / "c.yaml"))
    (tmp_path / "c.yaml").write_text("recipe: ltd\nfields: {budget: 5}\nfields: {seed: 1}\n")
    with pytest.raises(UsageError, match=r"c.yaml is not YAML: the field .fields. is written twice .* line 3"):
        read_request(str(tmp_path / "c.yaml"))
    with pytest.raises(UsageError, match=r"'embed.model.name': a field .* nested: embed: \{model: \{name: ...\}\}$"):
        build("ltd", Request(fields={"embed.model.name": "/m"}), [])
    with pytest.raises(UsageError, match=r"gone.yaml: No such file"):
        read_request(str(tmp_path / "gone.yaml"))


def test_words_are_recipe_inputs_and_overrides_in_any_order(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("recipe: ltd\ninputs: [a.json]\nfields: {seed: 3}\n")

    def parsed(*words):
        return asked(arguments().parse_intermixed_args(words))

    request, overrides = parsed("ltd", "a.json", "--out", "o", "budget=5%", "b.json")
    assert (request.recipe, request.inputs, overrides) == ("ltd", ("a.json", "b.json"), ["budget=5%"])
    request, overrides = parsed("--config", str(config), "--out", "o", "seed=4")
    assert (request.recipe, request.inputs, request.fields, overrides) == ("ltd", ("a.json",), {"seed": 3}, ["seed=4"])
    request, _ = parsed("--config", str(config), "deft", "c.json", "--as-published")
    assert (request.recipe, request.inputs, request.as_published) == ("deft", ("c.json",), True)


def test_profiles_are_validated(tmp_path):
    assert profile(None) == profile("laptop")
    assert profile("gpu").default.gpus == 1
    assert profile("gpu").train_gpus == 1
    assert replace(profile("gpu_8"), train_workers=1, train_layout="copies") == profile("gpu")
    assert replace(profile("mixed"), reduce_gpus=1, stall_seconds=1800) == profile("gpu")
    judges = profile("judge_70b")
    asking = ("Judge", "Rewrite", "Evolve", "Compare", "Respond")
    assert {name: judges.operators[name].gpus for name in asking} == dict.fromkeys(asking, 4)
    others = {name: how for name, how in judges.operators.items() if name not in asking}
    assert replace(judges, operators=others, stall_seconds=1800) == profile("gpu")
    (tmp_path / "shards.yaml").write_text("train_layout: shards\n")
    with pytest.raises(UsageError, match="train_layout: shards are for several workers: set train_workers above 1"):
        profile(str(tmp_path / "shards.yaml"))
    (tmp_path / "shares.yaml").write_text("default: {gpus: 1.5}\nreduce_gpus: 2.5\ntrain_workers: 2\ntrain_gpus: 0.5\n")
    with pytest.raises(UsageError) as refused:
        profile(str(tmp_path / "shares.yaml"))
    found = [each.partition(": ")[2].partition(":")[0] for each in str(refused.value).splitlines()]
    assert found == ["default.gpus", "reduce_gpus", "train_gpus"]
    (tmp_path / "p.yaml").write_text("default: {worker: 3}\n")
    with pytest.raises(UsageError, match=r"profile .*p.yaml: unknown field 'default.worker'"):
        profile(str(tmp_path / "p.yaml"))
    with pytest.raises(
        UsageError, match=r"no profile 'tpu': it is neither a file nor one of gpu, gpu_8, judge_70b, laptop"
    ):
        profile("tpu")


def test_a_folder_with_the_name_of_a_profile_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("gpu", "data"):
        (tmp_path / name).mkdir()
    assert profile("gpu").default.gpus == 1
    with pytest.raises(UsageError, match="profile data: Is a directory"):
        profile("data")


def test_a_profile_that_names_an_unknown_operator_is_refused_with_the_nearest(tmp_path):
    (tmp_path / "p.yaml").write_text("operators: {Juge: {gpus: 1}, Tokens: {cpus: 1}, Qq: {}}\n")
    with pytest.raises(UsageError) as refused:
        profile(str(tmp_path / "p.yaml"))
    first, second = str(refused.value).splitlines()
    assert first.endswith("operators.Juge: there is no such operator; did you mean 'Judge'?")
    assert second.endswith("operators.Qq: there is no such operator")


def test_every_operator_is_found_by_its_name():
    import importlib
    import pkgutil

    import jobs.methods
    import operators
    from jobs.engine.terminal.modules import operator_names
    from operators.base import Operator

    for package in (operators, jobs.methods):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)

    def below(cls):
        return {each for direct in cls.__subclasses__() for each in (direct, *below(direct))}

    ours = {each.__name__ for each in below(Operator) if each.__module__.startswith(("operators.", "jobs."))}
    assert operator_names() == sorted(ours)
