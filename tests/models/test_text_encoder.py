import importlib.util
import io
import warnings

import keras
import numpy as np
import pytest
from harness import WORDS, arrays, assert_close, check_compiled, check_save, randomize, tiny_text_encoder

from latentdiff import TextEncoder

PROMPTS = ["a red cat", "cat", "", "a red cat cat"]
SMALL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 12, "intermediate_dim": 16}
LETTERS = [chr(97 + index) for index in range(26)]


def hub():
    return pytest.importorskip("keras_hub")


def make_bert(length):
    return tiny_text_encoder(length)


def make_distilbert(length):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *[f"##{letter}" for letter in LETTERS]]
    backbone = hub().models.DistilBertBackbone(len(vocabulary), **SMALL, dropout=0.0, max_sequence_length=32)
    return TextEncoder(backbone, hub().tokenizers.DistilBertTokenizer(vocabulary), length)


def make_roberta(length):
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *LETTERS, "\u0120", "\u0120a", "\u0120c", "re", "red"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = hub().tokenizers.RobertaTokenizer(vocabulary, ["\u0120 a", "\u0120 c", "r e", "re d"])
    backbone = hub().models.RobertaBackbone(len(vocabulary), **SMALL, dropout=0.0, max_sequence_length=32)
    return TextEncoder(backbone, tokenizer, length)


def make_clip(length, pad_with_end_token=True):
    if not importlib.util.find_spec("tensorflow"):
        pytest.skip("KerasHub 0.32 can't make a CLIPTokenizer without TensorFlow: it copies a vocabulary not yet set")
    pieces = [*LETTERS, *[f"{letter}</w>" for letter in LETTERS], "ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = hub().tokenizers.CLIPTokenizer(vocabulary, ["c a", "ca t</w>"], pad_with_end_token=pad_with_end_token)
    # The length of CLIP's positions is fixed, so the backbone is made for the longest prompt.
    backbone = hub().models.CLIPTextEncoder(len(vocabulary), 12, 12, 1, 2, 16, max_sequence_length=length)
    return TextEncoder(backbone, tokenizer, length)


def make_t5(length):
    sentencepiece = pytest.importorskip("sentencepiece")
    proto = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS * 20),
        model_writer=proto,
        vocab_size=30,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        pad_piece="<pad>",
        eos_piece="</s>",
        unk_piece="<unk>",
        minloglevel=2,
    )
    tokenizer = hub().tokenizers.T5Tokenizer(proto=proto.getvalue())
    backbone = hub().models.T5Backbone(tokenizer.vocabulary_size(), **SMALL, dropout=0.0)
    return TextEncoder(backbone, tokenizer, length)


FAMILIES = {
    "bert": make_bert,
    "distilbert": make_distilbert,
    "roberta": make_roberta,
    "clip": make_clip,
    "clip_zeros": lambda length: make_clip(length, pad_with_end_token=False),
    "t5": make_t5,
}


def real_tokens(encoder, prompts):
    """The context of each prompt without its padding."""
    context, mask = arrays(encoder.encode(prompts))
    return [row[seen] for row, seen in zip(context, mask, strict=True)]


# === Every family of backbones ===


@pytest.mark.parametrize("family", FAMILIES)
def test_encode(family):
    encoder = randomize(FAMILIES[family](16))
    context, mask = arrays(encoder.encode(PROMPTS))
    assert context.shape == (4, 16, 12) and mask.shape == (4, 16)
    assert context.dtype == "float32" and mask.dtype == "bool"
    assert np.isfinite(context).all()
    # What counts comes first, and more of it for longer prompts; the empty one has its marks at least.
    assert (np.diff(mask.astype(int)) <= 0).all()
    lengths = mask.sum(axis=1)
    assert lengths[2] >= 1 and lengths[2] < lengths[1] <= lengths[0] < lengths[3]
    ids = encoder.tokenize(PROMPTS)
    if encoder.start_id is not None:
        assert (ids[:, 0] == encoder.start_id).all()
    assert [row[length - 1] for row, length in zip(ids, lengths, strict=True)] == [encoder.end_id] * 4


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_is_silent(family):
    short, long = FAMILIES[family](16), FAMILIES[family](32)
    randomize(long)
    for mine, other in zip(short.weights, long.weights, strict=True):
        value = arrays(other.value)
        mine.assign(value[: mine.shape[0]] if value.ndim else value)  # CLIP's table of positions is shorter
    for one, other in zip(real_tokens(short, PROMPTS), real_tokens(long, PROMPTS), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert_close(real_tokens(long, PROMPTS[:1]), real_tokens(long, PROMPTS)[:1], 1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_words_matter(family):
    encoder = randomize(FAMILIES[family](16))
    red, apple = (real_tokens(encoder, [prompt])[0] for prompt in ("a red cat", "a cat"))
    assert red.shape != apple.shape or np.abs(red - apple).max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_save(family, tmp_path):
    encoder = randomize(FAMILIES[family](16))
    ids = encoder.tokenize(PROMPTS)
    loaded = check_save(encoder, lambda encoder: encoder(ids), tmp_path)
    np.testing.assert_array_equal(loaded.tokenize(PROMPTS), ids)
    assert not loaded.trainable_variables
    assert loaded.sequence_length == 16


# === Stable Diffusion's ways ===


def test_padding_that_is_shown(tmp_path):
    plain = randomize(make_clip(16))
    shown = TextEncoder(plain.backbone, plain.tokenizer, 16, mask_padding=False)
    ids = plain.tokenize(PROMPTS)
    assert arrays(shown.mask(ids)).all() and not arrays(plain.mask(ids)).all()
    assert_close(shown(ids), plain(ids), 0.0)
    loaded = check_save(shown, lambda encoder: encoder(ids), tmp_path)
    assert arrays(loaded.condition(ids)["context_mask"]).all()


def test_last_layers_left_out(tmp_path):
    """As if the backbone had been made without them."""
    full = randomize(make_clip(16))
    backbones = [
        hub().models.CLIPTextEncoder(full.backbone.vocabulary_size, 12, 12, n, 2, 16, max_sequence_length=16)
        for n in (3, 1)
    ]
    randomize(backbones[0])
    own = {variable.path: variable for variable in backbones[0].variables}
    for variable in backbones[1].variables:
        variable.assign(own[variable.path])
    skipped = TextEncoder(backbones[0], full.tokenizer, 16, clip_skip=2)
    ids = full.tokenize(PROMPTS)
    assert_close(skipped(ids), TextEncoder(backbones[1], full.tokenizer, 16)(ids), 1e-6)
    assert check_save(skipped, lambda encoder: encoder(ids), tmp_path).clip_skip == 2
    with pytest.raises(ValueError, match="`clip_skip` must be at least 0 and below.*clip_skip=3.*with 3 layers"):
        TextEncoder(backbones[0], full.tokenizer, 16, clip_skip=3)
    with pytest.raises(ValueError, match="`clip_skip` must be.*a BertBackbone with 0 layers"):
        TextEncoder(tiny_text_encoder().backbone, tiny_text_encoder().tokenizer, clip_skip=1)


# === Parts of a prompt ===


def in_parts(family):
    """An encoder of parts, the same without, and ids of ten words (or pieces of words), the first the separator."""
    plain = randomize(FAMILIES[family](16))
    marks = {plain.start_id, plain.end_id, plain.pad_id}
    words = [token for token in range(5, 20) if token not in marks][:10]
    return TextEncoder(plain.backbone, plain.tokenizer, 16, separator_id=words[0]), plain, words


def row_of(encoder, words):
    ids = [*[encoder.start_id] * (encoder.start_id is not None), *words, encoder.end_id]
    return np.array(ids + [encoder.pad_id] * (16 - len(ids)))


PARTED = sorted(set(FAMILIES) - {"clip", "clip_zeros"})


@pytest.mark.parametrize("family", PARTED)
def test_parts_do_not_see_each_other(family):
    """Another word changes the features of its own part alone; without parts it changes those behind it too."""
    parted, plain, (comma, a, b, c, d, *_) = in_parts(family)
    ids = np.stack([row_of(parted, words) for words in ([a, b, comma, c, d], [d, b, comma, c, d], [a, b, comma, c, a])])
    first = 0 if parted.start_id is None else 1
    front, back = slice(0, first + 3), slice(first + 3, first + 6)
    for encoder, seen in ((parted, False), (plain, True)):
        context = arrays(encoder(ids))
        assert np.abs(context[0, front] - context[1, front]).max() > 1e-3
        assert np.abs(context[0, back] - context[2, back]).max() > 1e-3
        assert (np.abs(context[0, back] - context[1, back]).max() > 1e-4) == seen
        assert (np.abs(context[0, front] - context[2, front]).max() > 1e-4) == seen


@pytest.mark.parametrize("family", PARTED)
def test_a_prompt_of_one_part(family):
    parted, plain, (_, a, b, *_) = in_parts(family)
    ids = np.stack([row_of(parted, [a, b]), row_of(parted, [])])
    seen = arrays(plain.mask(ids))
    np.testing.assert_allclose(arrays(parted(ids))[seen], arrays(plain(ids))[seen], atol=1e-5)


def test_parts_need_a_mask():
    with pytest.raises(ValueError, match="`separator_id` needs"):
        in_parts("clip")


def test_the_last_separator_parts():
    parted, _, (comma, a, b, c, *_) = in_parts("bert")
    ids = np.stack([row_of(parted, words) for words in ([a, comma, b, comma, c], [b, comma, a, comma, c])])
    changed = np.abs(np.diff(arrays(parted(ids)), axis=0)[0]).max(axis=-1) > 1e-4
    assert changed[:7].tolist() == [True] * 5 + [False] * 2  # the two words and all that sees them


def test_parts_are_saved_and_compile(tmp_path):
    parted, _, (comma, a, b, *_) = in_parts("bert")
    ids = np.stack([row_of(parted, [a, comma, b]), row_of(parted, [b])])
    loaded = check_save(parted, lambda encoder: encoder(ids), tmp_path)
    assert loaded.separator_id == comma
    check_compiled(parted, parted, ids)


# === Contract ===


def test_compiled_equals_eager():
    encoder = randomize(tiny_text_encoder())
    check_compiled(encoder, encoder, encoder.tokenize(PROMPTS))


def test_special_words_are_text():
    """A prompt can't end itself."""
    encoder = tiny_text_encoder(16)
    ids = encoder.tokenize(["a [SEP] cat"])[0]
    assert (ids == encoder.end_id).sum() == 1


def test_cut_with_a_warning():
    encoder = tiny_text_encoder(6)
    with pytest.warns(UserWarning, match=r"'a red apple and the cat' has 6 tokens, 4 fit: it was cut before 'the cat'"):
        ids = encoder.tokenize(["a red apple and the cat"])
    np.testing.assert_array_equal(ids, encoder.tokenize(["a red apple and"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.tokenize(["a red apple and"])


@pytest.mark.parametrize("length", [2, 33])
def test_wrong_length(length):
    with pytest.raises(ValueError, match=f"`sequence_length` must be between 3 and.*32.*sequence_length={length}"):
        tiny_text_encoder(length)


def test_backbone_without_a_sequence():
    inputs = keras.Input((None,), dtype="int32", name="token_ids")
    backbone = keras.Model({"token_ids": inputs}, {"pooled_output": keras.layers.Embedding(4, 2)(inputs)})
    with pytest.raises(ValueError, match="`backbone` must give a 'sequence_output'.*pooled_output"):
        TextEncoder(backbone, tiny_text_encoder().tokenizer)


# === Laws ===


def test_hidden_tokens_never_matter():
    encoder = randomize(tiny_text_encoder(16))
    ids = encoder.tokenize(["a cat"])
    length = int(arrays(encoder.mask(ids)).sum())
    other = ids.copy()
    other[:, length:] = 7
    assert_close(encoder(ids)[:, :length], encoder(other)[:, :length], 1e-6)


@pytest.mark.parametrize("trainable", [False, True])
def test_frozen_means_no_dropout_and_no_training(trainable):
    encoder = tiny_text_encoder(trainable=trainable, dropout=0.5)
    ids = encoder.tokenize(PROMPTS)
    changed = np.abs(arrays(encoder(ids, training=True)) - arrays(encoder(ids))).max()
    assert (changed > 1e-3) == trainable
    assert bool(encoder.trainable_variables) == trainable


def test_a_copy_without_vocabulary_says_what_to_do():
    """Configs of KerasHub's tokenizers hold no words."""
    encoder = tiny_text_encoder()
    copy = keras.models.clone_model(encoder)
    with pytest.raises(ValueError, match="`tokenizer` must have its vocabulary.*set `text_encoder.tokenizer`") as error:
        copy.tokenize(["a cat"])
    assert "\n" not in str(error.value)
    copy.tokenizer = encoder.tokenizer
    np.testing.assert_array_equal(copy.tokenize(["a cat"]), encoder.tokenize(["a cat"]))


def test_token_ids_may_be_an_array():
    tiny = make_bert(8)
    encoder = TextEncoder(tiny.backbone, tiny.tokenizer, 8)  # no separator, which would make tensors of them
    token_ids = encoder.tokenize(PROMPTS)
    context, mask = encoder.encode(PROMPTS)
    assert_close(encoder.condition(token_ids), {"context": context, "context_mask": mask})
