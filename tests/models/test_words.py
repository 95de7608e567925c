import keras
import numpy as np
import pytest
from harness import (
    arrays,
    assert_close,
    compile_quietly,
    first_fast,
    largest_change,
    normal,
    part_answers,
    tiny_text_to_image,
)
from keras import ops
from models.test_text_encoder import FAMILIES

from latentdiff import TextToImage
from latentdiff.models.compilation import compile_function

DATA = {"latents": normal(3, 4, 4, 4, 3), "captions": ["a <x> apple", "a <x>", "<x>", "the small <x>"]}


@pytest.fixture
def encoder(adaptable):
    """The text encoder of the file's model, whose words are taken away afterwards."""
    yield adaptable.text_encoder
    adaptable.text_encoder.words.clear()


@pytest.fixture
def model(adaptable, encoder):
    return adaptable


def features(encoder, *prompts):
    return arrays(encoder(ops.convert_to_tensor(encoder.tokenize(prompts))))


def vectors_of(encoder, text):
    """The rows of the token table that a text has."""
    (ids,) = encoder.words.token_ids([text])
    return arrays(encoder.words.table.embeddings)[ids]


# === Laws ===


def test_a_word_with_the_vectors_of_a_text_means_that_text(encoder):
    before = features(encoder, "a red apple and flat")
    encoder.words.insert("<x>", vectors_of(encoder, "red apple"))
    assert_close(features(encoder, "a <x> and flat"), before, 1e-6)
    assert_close(features(encoder, "a red apple and flat"), before, 1e-6)
    encoder.words.insert("<y>", vectors_of(encoder, "cat"))
    assert_close(features(encoder, "the<x>,<y>"), features(encoder, "the red apple,cat"), 1e-6)


@pytest.mark.parametrize("family", first_fast(sorted(FAMILIES), 0))
def test_any_backbone_takes_words(family):
    encoder = FAMILIES[family](12)
    before = features(encoder, "the red cat")
    encoder.words.insert("<x>", vectors_of(encoder, "red cat"))
    received = features(encoder, "the <x>")
    assert_close(received, before, 1e-5)
    copy = type(encoder).from_config(encoder.get_config())
    assert copy.words.ids == encoder.words.ids


def test_added_it_starts_as_another_text_or_as_the_mean_word(encoder):
    word = encoder.words.add("<x>", 3, like="red apple")
    assert_close(word.vectors, vectors_of(encoder, "red apple")[[0, 1, 0]], 0.0)
    encoder.words.add("<y>", 1, like="<x>")
    assert_close(encoder.words["<y>"].vectors, word.vectors[:1], 0.0)
    encoder.words.add("<z>")
    assert_close(encoder.words["<z>"].vectors[0], arrays(encoder.words.table.embeddings).mean(axis=0), 1e-6)


def test_words_are_found_where_they_stand_alone_the_longest_first(encoder):
    first = encoder.words.table.input_dim
    for text, count in (("<x>", 1), ("<x>+", 2), ("glimp", 1)):
        encoder.words.add(text, count)
    assert encoder.words.ids == {"<x>": [first], "<x>+": [first + 1, first + 2], "glimp": [first + 3]}
    x, plus, glimp = encoder.words.ids.values()
    (cat,), (glimps,) = encoder.words.token_ids(["cat"]), encoder.words.token_ids(["glimps"])
    texts = {"<x><x>+": x + plus, "cat<x>cat": cat + x + cat, "glimp, glimp": None, "<X>": None}
    rows = dict(zip(texts, encoder.words.token_ids(texts), strict=True))
    assert rows["<x><x>+"] == x + plus and rows["cat<x>cat"] == cat + x + cat
    assert rows["glimp, glimp"][0] == rows["glimp, glimp"][-1] == glimp[0]
    assert not set(glimps + rows["<X>"]) & {*x, *plus, *glimp}


def test_a_prompt_that_is_cut_names_the_word(encoder):
    encoder.words.add("<x>", 4)
    with pytest.warns(UserWarning, match="was cut before '<x> cat'"):
        encoder.tokenize(["<x> <x> cat"])


def test_taken_away_it_leaves_no_trace(encoder):
    before, config = features(encoder, "a <x>"), encoder.get_config()
    encoder.words.insert("<x>", normal(0, 2, 12))
    assert np.abs(features(encoder, "a <x>") - before).max() > 1e-2
    encoder.words.remove("<x>")
    assert_close(features(encoder, "a <x>"), before, 0.0)
    assert encoder.get_config() == config


# === Training ===


def test_fit_changes_the_word_alone(model):
    model.text_encoder.words.insert("<y>", normal(0, 1, 12))
    word = model.text_encoder.words.add("<x>", 2, like="red")
    before = {id(variable): arrays(variable) for variable in model.variables if variable is not word.vectors}
    start = arrays(word.vectors)
    compile_quietly(model, optimizer=keras.optimizers.Adam(1e-2))
    model.fit(DATA, batch_size=4, verbose=0)
    assert np.abs(arrays(word.vectors) - start).min(axis=1).max() > 1e-4
    moved = {v.path for v in model.variables if np.abs(arrays(v) - before.get(id(v), arrays(v))).max() > 0}
    assert all("seed" in path or "loss" in path for path in moved), moved
    assert model.trainable_variables == [word.vectors]


def test_frozen_words_leave_all_else_trainable(model):
    count = len(model.trainable_variables)
    model.text_encoder.words.add("<x>")
    assert len(model.trainable_variables) == 1
    model.text_encoder.words["<x>"].trainable = False
    assert len(model.trainable_variables) == count


# === Saving and compiling ===


def test_a_preset_holds_words(tmp_path):
    pipeline = tiny_text_to_image()
    pipeline.model.text_encoder.words.insert("<x>", normal(0, 2, 12))
    expected, said = part_answers(pipeline), features(pipeline.model.text_encoder, "a <x>")
    pipeline.save_to_preset(tmp_path / "preset")
    loaded = TextToImage.from_preset(tmp_path / "preset")
    assert list(loaded.model.text_encoder.words) == ["<x>"]
    assert_close(part_answers(loaded), expected, 1e-5)
    assert_close(features(loaded.model.text_encoder, "a <x>"), said, 1e-5)


def test_what_is_compiled_follows_new_words_and_their_vectors(model):
    compiled = compile_function(model.condition, model)

    def check(text):
        ids = ops.convert_to_tensor(model.text_encoder.tokenize([text]))
        assert_close(compiled(ids)["context"], features(model.text_encoder, text), 1e-5)
        return arrays(compiled(ids)["context"])

    before = check("a <x>")
    word = model.text_encoder.words.insert("<x>", normal(0, 2, 12))
    after = check("a <x>")
    word.vectors.assign(normal(1, 2, 12))
    assert largest_change([before], [after]) > 1e-2 and largest_change([after], [check("a <x>")]) > 1e-2


# === Errors ===


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda words: words.add("a(b"), "`text` must be a word without"),
        (lambda words: words.add(" x"), "`text` must be a word without"),
        (lambda words: words.add("<x>", 0), "`num_vectors` must be a whole number of at least 1"),
        (lambda words: words.add("<x>", like=" "), "`like` must be a text with tokens"),
        (lambda words: words.insert("<x>", normal(0, 2, 5)), r"`vectors` must be finite numbers \(n, 12\)"),
        (lambda words: words.insert("<x>", np.full((1, 12), np.nan)), "`vectors` must be finite numbers"),
        (lambda words: words.remove("<x>"), r"one of \[\]. Received: text='<x>'"),
    ],
)
def test_wrong_arguments_are_refused(encoder, call, message):
    with pytest.raises(ValueError, match=message):
        call(encoder.words)
    assert not len(encoder.words)
