import pytest
from harness import tiny_text_encoder

from latentdiff.recipes.experiment import Experiment
from latentdiff.recipes.text_encoder import load_text_encoder


@pytest.mark.parametrize("separator", [None, "and"])
def test_a_text_encoder_by_its_preset(separator, tmp_path):
    tiny = tiny_text_encoder()
    tiny.backbone.save_to_preset(tmp_path)
    tiny.tokenizer.save_to_preset(tmp_path)
    encoder = load_text_encoder(str(tmp_path), Experiment(sequence_length=16, separator=separator))
    assert encoder.sequence_length == 16 and not encoder.trainable
    assert encoder.tokenize(["red and blue"])[0].tolist()[:5] == tiny.tokenize(["red and blue"])[0].tolist()[:5]
    assert encoder.separator_id == (separator and tiny.separator_id)
