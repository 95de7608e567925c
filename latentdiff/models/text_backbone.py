"""The part of a backbone that a text encoder needs: token ids in, one vector per token out, perhaps one of the text."""

import keras


def sequence_model(backbone, clip_skip):
    """`backbone` as a model from its encoder's inputs to a dict of members of the conditioning.

    `context` is float (batch, tokens, dim). A backbone with a 'projection_output', such as `ClipPair`, also gives
    `pooled_context`, float (batch, dim).

    Raises:
        ValueError: a backbone without features for each token; `clip_skip` with another one than that of CLIP.
    """
    outputs, pooled = backbone.output, {}
    if clip_skip:
        outputs = _skip_last_layers(backbone, clip_skip)
    elif isinstance(outputs, dict):
        if "projection_output" in outputs:
            pooled = {"pooled_context": outputs["projection_output"]}
        name = next((name for name in ("sequence_output", "encoder_sequence_output") if name in outputs), None)
        if name is None:
            raise ValueError(
                "`backbone` must give a 'sequence_output' or an 'encoder_sequence_output'. "
                f"Received: a backbone with outputs {sorted(outputs)}"
            )
        outputs = outputs[name]
    inputs = backbone.input if isinstance(backbone.input, dict) else {"token_ids": backbone.input}
    encoder_inputs = {name: tensor for name, tensor in inputs.items() if not name.startswith("decoder_")}
    return keras.Model(encoder_inputs, {"context": outputs, **pooled}, name="sequence_model")


def _skip_last_layers(backbone, count):
    """The output of CLIP's layer `count` in front of the last, normalized as that of the last is."""
    layers = getattr(backbone, "encoder_layers", ())
    if not 0 <= count < len(layers):
        raise ValueError(
            "`clip_skip` must be at least 0 and below the layers of a `CLIPTextEncoder`. "
            f"Received: clip_skip={count}, a {type(backbone).__name__} with {len(layers)} layers"
        )
    return backbone.layer_norm(layers[-1 - count].output)
