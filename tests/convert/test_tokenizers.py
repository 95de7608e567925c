import json

import pytest
from convert.tiny_folders import write_json, write_tokenizer
from golden import clip_words

from latentdiff.convert.tokenizers import load_tokenizer


@pytest.mark.parametrize("one_file", [True, False])
@pytest.mark.parametrize("pad_token", [clip_words.END, "!"])
def test_both_forms(tmp_path, one_file, pad_token):
    write_tokenizer(tmp_path, pad_token, one_file)
    tokenizer = load_tokenizer(tmp_path)
    assert dict(tokenizer.vocabulary) == clip_words.vocabulary()
    assert list(tokenizer.merges) == clip_words.MERGES
    assert tokenizer.pad_token_id == clip_words.vocabulary()[pad_token]


def test_merges_in_one_string(tmp_path):
    write_tokenizer(tmp_path, "!")
    path = tmp_path / "tokenizer.json"
    whole = json.loads(path.read_text())
    whole["model"]["merges"] = clip_words.MERGES
    write_json(path, whole)
    assert list(load_tokenizer(tmp_path).merges) == clip_words.MERGES


def other_model(whole):
    whole["model"]["type"] = "WordPiece"


def further_token(whole):
    whole["added_tokens"].append({"id": 600, "content": "<my-cat>"})


def no_marks(whole):
    del whole["model"]["vocab"][clip_words.END]
    whole["added_tokens"].clear()


@pytest.mark.parametrize(
    "change, message",
    [
        (other_model, "must hold the byte pairs of CLIP.*'WordPiece'"),
        (further_token, "further tokens .'<my-cat>'"),
        (no_marks, "must hold <.startoftext.> and <.endoftext.>"),
    ],
)
def test_other_tokenizers(tmp_path, change, message):
    write_tokenizer(tmp_path, "!")
    whole = json.loads((tmp_path / "tokenizer.json").read_text())
    change(whole)
    write_json(tmp_path / "tokenizer.json", whole)
    with pytest.raises(ValueError, match=message):
        load_tokenizer(tmp_path)


def test_missing_files(tmp_path):
    with pytest.raises(ValueError, match="vocab.json is missing"):
        load_tokenizer(tmp_path)
    write_tokenizer(tmp_path, "!", one_file=False)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(ValueError, match="merges.txt is missing"):
        load_tokenizer(tmp_path)


def test_another_pad_token(tmp_path):
    write_tokenizer(tmp_path, "a", one_file=False)
    with pytest.raises(ValueError, match="`pad_token` in .* must be .*Received: pad_token='a'"):
        load_tokenizer(tmp_path)
