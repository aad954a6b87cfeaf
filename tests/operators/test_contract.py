"""What every operator keeps to; operators are found, not listed."""

import importlib
import json
import pickle
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace

import numpy as np
import pyarrow as pa
import pytest

import operators
from operators.asking.asking import Asking
from operators.base import Operator, RowError
from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from operators.embedding.hidden_state import HiddenState
from operators.gradients.gradient import Gradient
from operators.gradients.gradient_norm import GradientNorm
from operators.losses.class_error import ClassError
from operators.losses.loss import Loss
from operators.losses.unprompted_loss import UnpromptedLoss
from operators.models import ahead
from operators.sample import MESSAGES, SAMPLE, TEXT_FIELDS
from operators.scoring.reward import Reward
from operators.scoring.scorer import Scorer
from operators.scoring.unieval import UniEval
from operators.supervision.labels import Labels
from operators.tokens import Tokens
from tests.batches import TEXTS, batch
from tests.servers import prompt, served
from tests.tiny import tiny_causal, tiny_encoder, tiny_reward, tiny_unieval


def tiny_gradient(folder) -> Gradient:
    """Of a tiny model with an adapter beside it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_causal(folder)),
        LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
    )
    model.save_pretrained(folder / "epoch")
    model.config.save_pretrained(folder / "epoch")
    return Gradient(Checkpoint(str(folder)), Checkpoint(str(folder / "epoch")), feature="sgd", max_tokens=128)


def tiny_class_error(folder) -> ClassError:
    """Of a tiny classifier of tasks, which every second sample of the batch has."""
    from transformers import AutoModelForSequenceClassification

    names = {0: "w", 1: "x"}
    AutoModelForSequenceClassification.from_pretrained(tiny_encoder(folder), id2label=names).save_pretrained(folder)
    return ClassError(Checkpoint(str(folder)), Labels("task", classes=("w", "x")), max_tokens=64)


# Operators that have no model to start with, or one too large for a test, made with a tiny one in the folder.
WITH_A_TINY_MODEL = {
    ClassError: tiny_class_error,
    Gradient: tiny_gradient,
    GradientNorm: lambda folder: GradientNorm(Checkpoint(str(tiny_causal(folder))), of="head", max_tokens=128),
    Loss: lambda folder: Loss(Checkpoint(str(tiny_causal(folder))), max_tokens=128),
    HiddenState: lambda folder: HiddenState(Checkpoint(str(tiny_causal(folder))), max_tokens=128),
    UnpromptedLoss: lambda folder: UnpromptedLoss(Checkpoint(str(tiny_causal(folder))), max_tokens=128),
    Reward: lambda folder: Reward(model=Checkpoint(str(tiny_reward(folder))), max_tokens=128),
    Scorer: lambda folder: Scorer(
        model=Checkpoint(str(tiny_causal(folder))), template="{instruction} {response}\nScore: ", labels=("1", "2", "3")
    ),
    UniEval: lambda folder: UniEval(Checkpoint(str(tiny_unieval(folder))), max_tokens=128),
}


def found() -> list[type[Operator]]:
    """Every operator class that the package defines, besides those that are there to be subclassed."""
    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(operators.__path__, "operators.")
        if not module.ispkg
    ]
    declaring = {module.__name__ for module in modules} - {
        "operators.base",
        "operators.asking.asking",
        "operators.templated",
    }
    return sorted((each for each in _below(Operator) if each.__module__ in declaring), key=lambda each: each.__name__)


def _below(cls: type) -> set[type]:
    return {each for direct in cls.__subclasses__() for each in (direct, *_below(direct))}


@pytest.fixture(scope="module")
def server():
    """A language model whose answer follows from what it is asked."""
    with served(lambda request: f"{sum(prompt(request).encode()) % 6}") as scripted:
        yield scripted


@pytest.fixture(scope="module", params=found(), ids=lambda each: each.__name__)
def operator(request, tmp_path_factory, server):
    if issubclass(request.param, Asking):
        return request.param(model=Checkpoint("any"), endpoint=server.url)
    made = WITH_A_TINY_MODEL.get(request.param, lambda folder: request.param())
    return made(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def compute(operator):
    """The operator's function, given of a batch what the engine gives: the columns that the operator asks for."""
    return given(operator, operator.load())


def given(operator, loaded):
    return lambda table: loaded(table.select(["id", *operator.columns()]))


def test_values_of_pieces_that_are_tokenized_ahead_are_those_of_the_whole_batch(operator, compute, monkeypatch):
    if type(operator) not in {*WITH_A_TINY_MODEL, Embed}:
        pytest.skip("it has no model of its own")
    whole = list(compute(batch(TEXTS)))
    submitted = []

    class Noted(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **named):
            submitted.append(args[0].num_rows)
            return super().submit(fn, *args, **named)

    monkeypatch.setattr(ahead, "ThreadPoolExecutor", Noted)
    monkeypatch.setattr(
        ahead, "_pieces", lambda table, device: [table.slice(at, 3) for at in range(0, table.num_rows, 3)]
    )
    assert list(map(repr, compute(batch(TEXTS)))) == list(map(repr, whole))
    assert sum(submitted) == len(TEXTS)
    assert len(submitted) > 1


def template_fields(declaration) -> list[str]:
    """The dotted names of the fields that are text templates, in whatever they are nested."""
    found = []
    for each in fields(declaration):
        value = getattr(declaration, each.name)
        if is_dataclass(value):
            found += [f"{each.name}.{inner}" for inner in template_fields(value)]
        elif isinstance(value, str) and _refuses_unknown_fields(declaration, each.name):
            found.append(each.name)
    return found


def _refuses_unknown_fields(declaration, name: str) -> bool:
    try:
        replace(declaration, **{name: "{no such field}"})
    except ValueError as error:
        return "text template" in str(error)
    return False


def with_field(declaration, name: str, value: str):
    head, _, rest = name.partition(".")
    return replace(declaration, **{head: with_field(getattr(declaration, head), rest, value) if rest else value})


def arrived(values) -> list:
    if not isinstance(values, Iterator):
        return list(values)
    by_row = {row: value for group in values for row, value in group.items()}
    return [by_row[row] for row in range(len(by_row))]


def comparable(values) -> list:
    return [str(value) if isinstance(value, RowError) else np.asarray(value).tolist() for value in arrived(values)]


def test_operators_are_found():
    assert {"Embed", "Field", "Tokens"} <= {each.__name__ for each in found()}


def test_operator_is_a_frozen_value(operator):
    again = pickle.loads(pickle.dumps(operator))
    assert again == operator
    assert hash(again) == hash(operator)
    with pytest.raises((FrozenInstanceError, AttributeError)):
        operator.version_ = 2
    with pytest.raises((FrozenInstanceError, AttributeError)):
        setattr(operator, next(iter(vars(operator))), None)


def test_operator_reads_columns_that_samples_have(operator):
    assert set(operator.reads) <= set(SAMPLE.names)


def test_text_templates_are_found():
    assert template_fields(Tokens()) == template_fields(Embed()) == ["text"]
    assert template_fields(ClassError(Checkpoint("any"), Labels())) == ["labels.text"]


def test_every_field_of_a_text_template_is_filled_from_the_columns_that_are_asked_for(operator):
    """The text {request} has the value of the instruction without its input, which the messages alone do not tell."""
    name = next(iter(template_fields(operator)), None)
    if name is None:
        pytest.skip("it has no text template")
    asked, about, answer, system = "Name the river: the long one.", "Дунай 多瑙河 or the Rhine", "Дунай.", "Be brief."
    thought = "Long: 多瑙河 or Rhine."
    texts = {
        "instruction": f"{asked}\n{about}",
        "request": asked,
        "response": answer,
        "reasoning": thought,
        "conversation": f"{asked}\n{about}\n{answer}",
        "system": system,
    }
    assert set(texts) == set(TEXT_FIELDS)
    assert with_field(operator, name, "Only {request}").belongs_to() == "record"
    for field, text in texts.items():
        # What the operator makes of that text where it is the response of another record.
        templated, plain = (with_field(operator, name, f"{{{each}}}") for each in (field, "response"))
        (found,) = comparable(
            given(templated, templated.load())(record(asked, about, answer, system * (field == "system"), thought))
        )
        (expected,) = comparable(given(plain, plain.load())(record("?", "", text)))
        assert found == expected, field


def record(asked: str, about: str, answer: str, system: str = "", thought: str | None = None) -> pa.Table:
    """A batch of one sample, whose record keeps what the instruction is about apart."""
    said = [("system", system)] * bool(system)
    said += [("user", f"{asked}\n{about}" if about else asked), ("assistant", answer)]
    messages = [{"role": role, "content": content} for role, content in said]
    messages[-1]["reasoning"] = thought
    raw = json.dumps({"instruction": asked, "input": about, "output": answer, "task": "x"}).encode()
    made = batch([("", "")])
    made = made.set_column(made.schema.get_field_index("messages"), "messages", pa.array([messages], MESSAGES))
    return made.set_column(made.schema.get_field_index("raw"), "raw", pa.array([raw], pa.large_binary()))


def test_fingerprint_is_the_same_in_another_process_that_imports_no_model_library(operator):
    code = f"""
import pickle, sys
made = pickle.loads({pickle.dumps(operator)!r})
made.check()
print(made.fingerprint(), *(name for name in ("torch", "transformers", "vllm", "ray") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [operator.fingerprint()]


def test_one_value_a_row_and_permuted_rows_give_permuted_values(compute):
    table = batch()
    values = comparable(compute(table))
    assert len(values) == len(TEXTS)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    assert comparable(compute(table.take(pa.array(order)))) == [values[i] for i in order]


def test_values_are_of_the_declared_type(operator, compute):
    if operator.gives is None:
        pytest.skip("its values say their type")
    values = [value for value in arrived(compute(batch())) if not isinstance(value, RowError)]
    assert values
    assert all(set(value) == {field.name for field in operator.gives} for value in values)
    assert len(pa.array(values, operator.gives)) == len(values)


def test_a_batch_of_one_gives_what_a_batch_of_all_gives(compute):
    table = batch()
    values = comparable(compute(table))
    assert [comparable(compute(table.slice(i, 1)))[0] for i in range(len(TEXTS))] == values


def test_a_sample_with_nothing_in_it_gives_a_value_or_an_error_and_never_an_exception(compute):
    table = batch([("", "")])
    table = table.set_column(table.schema.get_field_index("messages"), "messages", pa.array([[]], MESSAGES))
    (value,) = comparable(compute(table))
    assert value is not None
