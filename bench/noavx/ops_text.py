"""Operations of tokenizers, grammars and everything else that works on text."""

from __future__ import annotations

import tempfile
from importlib import import_module
from pathlib import Path

SENTENCES = [f"the rig number {number} has {number * 3} cards and no vector unit, naïve café" for number in range(200)]
DIGITS = r"[0-9]{3}"


def tokenizers() -> None:
    parts = import_module("tokenizers")
    tokenizer = parts.Tokenizer(parts.models.BPE())
    tokenizer.pre_tokenizer = parts.pre_tokenizers.ByteLevel()
    tokenizer.decoder = parts.decoders.ByteLevel()
    tokenizer.train_from_iterator(SENTENCES, parts.trainers.BpeTrainer(vocab_size=400, show_progress=False))
    assert [tokenizer.decode(one.ids).strip() for one in tokenizer.encode_batch(SENTENCES[:8])] == SENTENCES[:8]


def tiktoken() -> None:
    ranks = {bytes([value]): value for value in range(256)} | {b"th": 256, b"the": 257}
    encoding = import_module("tiktoken").Encoding("bytes", pat_str=r"\S+|\s+", mergeable_ranks=ranks, special_tokens={})
    assert encoding.encode("the") == [257]
    assert encoding.decode(encoding.encode(SENTENCES[0])) == SENTENCES[0]


def sentencepiece() -> None:
    parts = import_module("sentencepiece")
    with tempfile.TemporaryDirectory() as directory:
        prefix = str(Path(directory, "model"))
        parts.SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES), model_prefix=prefix, vocab_size=80, minloglevel=2
        )
        processor = parts.SentencePieceProcessor(model_file=f"{prefix}.model")
    assert processor.decode(processor.encode(SENTENCES[3])) == SENTENCES[3]


def regex() -> None:
    assert import_module("regex").findall(r"\p{L}+", SENTENCES[7])[-1] == "café"


def oss_harmony() -> None:
    harmony = import_module("openai_harmony")
    message = harmony.Message.from_role_and_content(harmony.Role.USER, SENTENCES[0])
    conversation = harmony.Conversation.from_messages([message])
    assert harmony.Conversation.from_json(conversation.to_json()) == conversation


def xgrammar() -> None:
    grammar = import_module("xgrammar")
    words = [bytes([value]) for value in range(128)] + [b"</s>"]
    tokens = grammar.TokenizerInfo(words, stop_token_ids=[128])
    compiled = grammar.GrammarCompiler(tokens, max_threads=1).compile_json_schema('{"type": "integer"}')
    matcher = grammar.GrammarMatcher(compiled)
    mask = grammar.allocate_token_bitmask(1, tokens.vocab_size)
    matcher.fill_next_token_bitmask(mask)
    assert not matcher.accept_token(ord("x"))
    assert matcher.accept_token(ord("7"))


def llguidance() -> None:
    guidance = import_module("llguidance")
    tokenizer = guidance.LLTokenizer("byte")
    matcher = guidance.LLMatcher(tokenizer, guidance.LLMatcher.grammar_from_regex(DIGITS))
    assert matcher.consume_tokens(tokenizer.tokenize_str("123"))
    assert matcher.is_accepting()


def outlines_core() -> None:
    core = import_module("outlines_core")
    vocabulary = core.Vocabulary(99, {str(digit): [digit] for digit in range(10)})
    guide = core.Guide(core.Index(DIGITS, vocabulary))
    assert sorted(guide.get_tokens()) == list(range(10))
    assert 3 in guide.advance(2)


def charset_normalizer() -> None:
    text = "Größe, naïveté, œuvre, déjà vu: " * 20
    assert str(import_module("charset_normalizer").from_bytes(text.encode()).best()) == text


def markupsafe() -> None:
    assert str(import_module("markupsafe").escape("<&>" * 20)) == "&lt;&amp;&gt;" * 20


def pyyaml() -> None:
    yaml = import_module("yaml")
    assert yaml.load(yaml.dump({"a": [1, 2.5]}, Dumper=yaml.CDumper), Loader=yaml.CLoader) == {"a": [1, 2.5]}


def z3_solver() -> None:
    z3 = import_module("z3")
    number = z3.BitVec("number", 64)
    solver = z3.Solver()
    solver.add(number * number == 1764, number < 100, number > 0)
    assert solver.check() == z3.sat
    assert solver.model()[number].as_long() ** 2 % 2**64 == 1764
