"""Few steps for the shipped preset `emoji-128`: an adapter that samples without guidance.

Command (DATA: the parquet shards):

    FILE=training/experiments/emoji_128_steps.py
    latentdiff train latents      --experiment $FILE --data DATA --init emoji-128 --output runs/steps
    latentdiff train distillation --experiment $FILE --init emoji-128 --output runs/steps

Cost: not measured as it is now; 111 ms a step with 128 captions and a teacher of 8 guided steps on one H200.
Result: steps-1 to steps-3 in `runs`. The last, with that teacher: on 400 unseen pairs joint retrieval 0.390 and
KID x 1000 6.6 in 4 steps, 0.375 and 8.1 in 2, where the preset has 0.435 and 7.1 in 12 guided ones. Nothing shipped.
"""

from pathlib import Path

from latentdiff.data.variations import paired
from latentdiff.recipes.experiments import load_experiment

PART_TWO = Path(__file__).with_name("emoji_128_part_two.py")
# As many numbers in float16 as 8 MB hold.
ADAPTER = {"rank": 24, "targets": ("linear", "convolution")}


def get_experiment(quick=False):
    experiment = load_experiment(PART_TWO, quick).replace(
        variations=(paired,),
        distilled_steps=(4, 2, 1),  # the first from the 12 guided steps of the preset
        lora=ADAPTER,
        batch_size=128,  # captions; 512 examples in the first phase
        learning_rate=1e-3,
        steps_per_execution=10,
        preview_prompts=(),
        validation_split=None,  # a minute of compiling in each phase; benchmarks/quality.py judges
    )
    return experiment if quick else experiment.replace(epochs=5, passes=10)  # 4,610 steps a phase
