"""Makes textual_inversion.npz: what the text encoder of diffusers' pipeline says with words of textual inversion.

pip install torch==2.13.0 diffusers==0.42.0 transformers==5.24.0 && python tests/golden/make_textual_inversion.py
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from make_stable_diffusion import TEXT, VERSIONS, make_pipeline
from safetensors.torch import save_file
from weights import make

PROMPTS = ["a <glimp> in the red apple", "<glimp><other>, cat", "the cat"]
WORDS = {"<glimp>": 3, "<other>": 1}


@torch.no_grad()
def main():
    arrays = {"prompts": np.array(PROMPTS)}
    for version in VERSIONS:
        pipeline = make_pipeline(version)
        for word, count in WORDS.items():
            vectors = make(word, (count, TEXT["hidden_size"]))
            with tempfile.TemporaryDirectory() as folder:
                save_file({word: torch.from_numpy(vectors)}, f"{folder}/word.safetensors")
                pipeline.load_textual_inversion(folder, weight_name="word.safetensors")
            arrays[word] = vectors
        context, _ = pipeline.encode_prompt(PROMPTS, "cpu", 1, do_classifier_free_guidance=False)
        arrays[f"{version}/context"] = context.numpy()
    np.savez_compressed(Path(__file__).parent / "textual_inversion.npz", **arrays)


if __name__ == "__main__":
    main()
