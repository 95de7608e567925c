"""Makes long_prompts.npz: what transformers and diffusers answer to prompts of several chunks of 75 tokens.

pip install torch==2.13.0 diffusers==0.42.0 transformers==5.24.0 && python tests/golden/make_long_prompts.py

A chunk has a start and an end mark of its own and is encoded by `CLIPTextModel` alone; the features of all chunks are
concatenated along the tokens and go to the pipeline as `prompt_embeds`.
"""

from pathlib import Path

import diffusers
import numpy as np
import torch
from clip_words import LONG, LONG_NEGATIVE, SHORTER
from make_stable_diffusion import VERSIONS, first, last, make_pipeline

ROOM = 75
PROMPTS = {"long": LONG, "shorter": SHORTER, "negative": LONG_NEGATIVE}


def chunks(tokenizer, prompt):
    """Token ids of each chunk, (chunks, 77)."""
    ids = tokenizer(prompt, add_special_tokens=False).input_ids
    parts = [ids[start : start + ROOM] for start in range(0, len(ids), ROOM)]
    rows = [[tokenizer.bos_token_id, *part, tokenizer.eos_token_id] for part in parts]
    return [row + [tokenizer.pad_token_id] * (ROOM + 2 - len(row)) for row in rows]


def encode(pipeline, rows):
    """Features of each chunk, one after the other: (1, 77 chunks, dim)."""
    features = [pipeline.text_encoder(torch.tensor([row])).last_hidden_state for row in rows]
    return torch.cat(features, dim=1)


@torch.no_grad()
def main():
    noise = np.random.RandomState(2).standard_normal((1, 8, 8, 4)).astype("float32")
    arrays = {"noise": noise}
    for version in VERSIONS:
        pipeline = make_pipeline(version)
        pipeline.set_progress_bar_config(disable=True)
        rows = {name: chunks(pipeline.tokenizer, text) for name, text in PROMPTS.items()}
        assert [len(part) for part in rows.values()] == [3, 2, 2]
        context = {name: encode(pipeline, part) for name, part in rows.items()}
        arrays |= {f"{version}/{name}/token_ids": np.array(part) for name, part in rows.items()}
        arrays |= {f"{version}/{name}/context": values.numpy() for name, values in context.items()}
        options = {"timestep_spacing": "leading", "set_alpha_to_one": True, "clip_sample": False}
        pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, **options)
        made = pipeline(  # of prompts of equal length, since diffusers takes no other
            prompt_embeds=context["shorter"],
            negative_prompt_embeds=context["negative"],
            num_inference_steps=10,
            guidance_scale=3.0,
            latents=first(noise),
            output_type="latent",
        ).images
        arrays[f"{version}/latents"] = last(made)
    np.savez_compressed(Path(__file__).parent / "long_prompts.npz", **arrays)


if __name__ == "__main__":
    main()
