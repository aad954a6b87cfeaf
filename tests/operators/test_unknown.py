"""What a tokenizer does not know: by tokens, by characters, and never of one that spells bytes; and who asks."""

import pyarrow as pa
import pytest

from operators import sample
from operators.base import RowError
from operators.checkpoint import MINILM, Checkpoint
from operators.scoring.reward import _attempted, _segments
from operators.scoring.scorer import Prompts
from operators.supervision.labels import Labelling, Labels
from operators.supervision.supervised import Supervision
from operators.tokens import Tokens
from operators.unknown import further_characters, refuse_unreadable, unknown_share
from tests.tiny import tiny_tokenizer

CHINESE = "小笼包是一种皮薄多汁的蒸包子。吃的时候先咬一个小口，喝掉汤汁，免得烫嘴。"
THAI = "ช่วยอธิบายการเปลี่ยนแปลงสภาพภูมิอากาศให้ฟังหน่อย"
READ = {
    "English": "Name three primary colors.",
    "French": "Écris une lettre polie à ton voisin, s’il te plaît.",
    "Russian": "Напишите краткое изложение причин, по которым империя пришла в упадок.",
    "Vietnamese": "Hãy giải thích ngắn gọn về biến đổi khí hậu.",
    "Korean": "기후 변화에 대해 간단히 설명해 주세요.",
    "Greek": "Εξηγήστε σύντομα την κλιματική αλλαγή.",
    "Arabic": "اشرح الفرق بين الطقس والمناخ بجملتين.",
    "code": "def f(x):\n    return {k: v for k, v in x.items()}",
}


@pytest.fixture(scope="module")
def minilm():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(Checkpoint(MINILM).folder(), local_files_only=True)


def unigram(texts: list[str]):
    """A SentencePiece-like tokenizer trained on the texts, with an unknown token and without bytes to fall back on."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.train_from_iterator(
        texts,
        trainers.UnigramTrainer(
            vocab_size=200, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def test_minilm_reads_alphabets_and_neither_chinese_nor_thai(minilm):
    assert {name: unknown_share(minilm, text) for name, text in READ.items()} == dict.fromkeys(READ, 0.0)
    assert 0.55 < unknown_share(minilm, CHINESE) < 0.75
    assert unknown_share(minilm, THAI) == 1.0


def test_a_clause_that_is_one_unknown_token_counts_by_its_characters(minilm):
    text = f"Translate the sentence about the climate into Thai, please.\n{THAI}"
    tokens = minilm(text, add_special_tokens=False)["input_ids"]
    assert tokens.count(minilm.unk_token_id) == 1
    assert len(THAI) == 48
    assert unknown_share(minilm, text) == 12 / (len(tokens) - 1 + 12)


def test_a_share_is_of_the_tokens_that_are_looked_at(minilm):
    text = "Name three primary colors. " + CHINESE * 20
    assert unknown_share(minilm, text, limit=5) == 0.0
    assert unknown_share(minilm, text) > 0.5
    assert unknown_share(minilm, "") == unknown_share(minilm, " \n") == 0.0


def test_the_unknown_token_written_out_is_known(minilm):
    assert unknown_share(minilm, "[UNK] [UNK]") == 0.0


def test_an_unknown_clause_has_further_characters_and_an_unknown_character_none(minilm):
    counts = [
        further_characters(minilm, text, minilm(text, add_special_tokens=False)["input_ids"])
        for text in (CHINESE, THAI, f"Write {THAI}.", READ["Russian"])
    ]
    assert counts == [0, len(THAI) - 1, len(THAI) - 1, 0]


def test_a_tokenizer_of_bytes_reads_everything(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path)
    assert [unknown_share(tokenizer, text) for text in (CHINESE, THAI, "\U0001f642", *READ.values())] == [0.0] * 11
    tokenizer.unk_token = "</s>"  # as GPT-2 has it
    refuse_unreadable(tokenizer, tokenizer(CHINESE + "</s>")["input_ids"], CHINESE)


def test_a_unigram_tokenizer_reads_what_it_was_trained_on():
    trained = unigram([CHINESE, *READ.values()])
    assert unknown_share(trained, CHINESE) == 0.0
    assert unknown_share(trained, THAI) > 0.9


def test_the_error_has_the_share_and_the_beginning_of_the_text(minilm):
    shown = minilm(READ["English"] + CHINESE)["input_ids"]
    with pytest.raises(RowError) as refused:
        refuse_unreadable(minilm, shown, READ["English"], CHINESE * 100)
    assert refused.value.kind == "unreadable"
    assert "67% of the text is unknown to the model's tokenizer: '小笼包是一种皮薄多汁的蒸包子" in refused.value.message
    assert len(refused.value.message) < 130
    refuse_unreadable(minilm, shown, READ["English"])
    refuse_unreadable(minilm, minilm(READ["English"])["input_ids"], CHINESE)


def said(*contents: str) -> list[sample.Message]:
    return [{"role": role, "content": text} for role, text in zip(("user", "assistant"), contents, strict=False)]


@pytest.mark.parametrize(("asked", "answer"), [(CHINESE, "Buns."), ("Write about buns. " * 20, CHINESE)])
def test_the_whole_and_the_answer_must_both_be_read(minilm, asked, answer):
    from operators.scoring.windows import Window

    prompts = Prompts("How good is the answer?\n{instruction}\n{response}\nScore:", Window(minilm, 300))
    assert prompts.attempted([("Name a color.", "Red."), (asked, answer)]).kind == "unreadable"
    assert _attempted(Window(minilm, 300), _segments, (said(asked), answer)).kind == "unreadable"
    with pytest.raises(RowError, match=r"unreadable: 6\d% of the text"):
        Supervision(minilm, "plain", 300)(0, said(asked, answer))


def test_a_question_about_a_few_unknown_characters_is_let_pass(minilm):
    from operators.scoring.windows import Window

    asked, answer = "What does 做 mean? 🙂", "It is Chinese for to do, and a very common verb."
    prompts = Prompts("How good is the answer?\n{instruction}\n{response}\nScore:", Window(minilm, 300))
    assert Supervision(minilm, "plain", 300)(0, said(asked, answer)).count
    for found in (
        prompts.attempted([(asked, answer)]),
        _attempted(Window(minilm, 300), _segments, (said(asked), answer)),
    ):
        assert not isinstance(found, RowError)


def test_a_classified_text_is_judged_by_what_is_shown_of_it(minilm):
    labelling = Labelling(minilm, Labels(text="{instruction} {response}", classes=("food", "other")), 40)
    record = b'{"label": "food"}'
    with pytest.raises(RowError, match="unreadable"):
        labelling(0, said(CHINESE, "Buns."), record)
    assert labelling(0, said("Write about buns. " * 20, CHINESE), record).truncated


def test_tokens_count_an_unknown_clause_by_its_characters():
    texts = [READ["English"], CHINESE, THAI]
    table = pa.table({"messages": pa.array([said(text) for text in texts], sample.MESSAGES)})
    assert Tokens().load()(table) == [5, len(CHINESE), len(THAI)]
