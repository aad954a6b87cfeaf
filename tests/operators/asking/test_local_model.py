"""Asking vLLM: the order in which it is asked, what fits its memory, and an engine that dies."""

import pytest
import torch

from operators.asking import local_model
from operators.asking.judge import Judge
from operators.asking.language_model import Answer, Manner, Question
from operators.asking.local_model import LocalModel, prompt_text
from operators.base import DeviceLost, RowError
from operators.checkpoint import Checkpoint
from operators.sample import Message
from tests.batches import batch
from tests.operators.asking.engines import LIMIT, EngineDeadError
from tests.operators.asking.engines import engine as engine  # a fixture
from tests.tiny import tiny_causal, tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("judge"))


@pytest.mark.parametrize(
    "error",
    [
        EngineDeadError("see above"),
        torch.AcceleratorError("CUDA error: 700"),
        torch.OutOfMemoryError("2 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA driver error: out of memory"),
    ],
    ids=lambda error: str(error)[:20],
)
@pytest.mark.fault(
    "a language model's engine dies",
    how="a stand-in raises what vLLM raises when its engine is dead",
    holds="the worker ends and is replaced; no sample is blamed",
)
def test_an_engine_that_died_is_no_row_s_error(engine, folder, error):
    engine.error = error
    compute = Judge(model=Checkpoint(str(folder))).load()
    with pytest.raises(DeviceLost, match=type(error).__name__):
        list(compute(batch([("a", "b"), ("c", "d")])))


@pytest.mark.parametrize("error", [ValueError("no such parameter"), RuntimeError("no such parameter")])
def test_another_error_of_the_engine_stays_what_it_is(engine, folder, error):
    engine.error = error
    compute = Judge(model=Checkpoint(str(folder))).load()
    with pytest.raises(type(error), match="no such parameter"):
        list(compute(batch([("a", "b")])))


def test_answers_come_in_groups_while_others_are_computed_and_each_belongs_to_its_question(engine, folder):
    engine.finished = 100
    model = LocalModel(folder, None)
    engine.says = staticmethod(model.tokenizer.decode)
    questions = [question("long" * LIMIT) if at == 3 else question(f"({at})") for at in range(1400)]
    lots = list(model.answers(questions, Manner(max_tokens=8)))
    assert [len(lot) for lot in lots] == [601, 600, 199]
    found = {at: answer for lot in lots for at, answer in lot.items()}
    assert sorted(found) == list(range(1400))
    assert isinstance(found.pop(3), RowError)
    assert all(isinstance(answer, Answer) and f"({at})" in answer.text for at, answer in found.items())


def test_answers_of_a_slow_engine_come_before_a_group_is_full(engine, folder, monkeypatch):
    monkeypatch.setattr(local_model, "LOT_SECONDS", 0.0)
    engine.finished = 3
    lots = list(LocalModel(folder, None).answers([question("a")] * 8, Manner(max_tokens=8)))
    assert [len(lot) for lot in lots] == [3, 3, 2]


def test_the_engine_begins_before_all_questions_are_tokenized(engine, folder):
    model = LocalModel(folder, None)
    assert len(list(model.answers([question("a")] * 1000, Manner(max_tokens=8)))) == 2
    assert model.engine.llm.begun == [256, 512, 768, 1000]


def test_a_context_that_has_no_memory_is_fitted_and_only_what_it_holds_is_answered(engine, folder):
    texts = [("a", "b"), ("c", "x" * 3000), ("d", "e")]
    free, full = answered(engine, folder, LIMIT, texts), answered(engine, folder, 2000, texts)
    assert [each["reply"] for each in free] == ["4", "4", "4"]
    assert full[0] == free[0]
    assert full[2] == free[2]
    assert isinstance(full[1], RowError)
    assert full[1].kind == "too_long"
    assert "there is memory for 2,000" in full[1].message


def test_what_is_cut_is_what_exceeds_the_model_s_limit_however_much_memory_there_is(engine, folder):
    texts = [("a", "b"), ("c", "x" * 3 * LIMIT)]
    free, full = answered(engine, folder, LIMIT, texts), answered(engine, folder, LIMIT - 1, texts)
    assert [each["cut"] for each in free] == [False, True]
    assert full[0] == free[0]
    assert isinstance(full[1], RowError)  # not a value of a shorter cut


def test_a_context_that_was_asked_for_is_not_fitted(engine, folder):
    engine.fits = 1000
    LocalModel(folder, 1000)
    with pytest.raises(ValueError, match="does not fit"):
        LocalModel(folder, 1001)


def question(text: str) -> Question:
    """A question of this text, which may not be cut."""
    return Question({}, lambda texts, tokens: [{"role": "user", "content": text}])


def answered(engine, folder, fits: int, texts) -> list:
    """The values of a judge whose engine has memory for that many tokens."""
    engine.fits = fits
    found = {}
    for lot in Judge(model=Checkpoint(str(folder))).load()(batch(texts)):
        found |= lot
    return [found[at] for at in range(len(texts))]


@pytest.mark.parametrize(
    "of_system",
    ["", "{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"],
    ids=["dropped", "refused"],
)
def test_a_system_message_that_the_template_drops_or_refuses_is_asked_with_the_user_s(tmp_path, of_system):
    tokenizer = tiny_tokenizer(tmp_path)
    answered = "{% if m.role == 'user' %}<user>{{ m.content }}{% endif %}"
    tokenizer.chat_template = f"{{% for m in messages %}}{of_system}{answered}{{% endfor %}}"
    asked: list[Message] = [{"role": "system", "content": "Rate it. "}, {"role": "user", "content": "It is 3."}]
    assert prompt_text(tokenizer, asked) == "<user>Rate it. \n\nIt is 3."
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}"
    assert prompt_text(tokenizer, asked) == "<system>Rate it.<user>It is 3."
