"""How similar generated images are to the images that a model was trained on."""

from latentdiff.evaluation import extract_features, memorisation


def similarity_rows(images, prompts, training_images, feature_model):
    """The mean similarity of the images of each prompt to their most similar training image (cosine of features).

    Args:
        images: dict of name -> uint8 (prompts, num_images, height, width, 3).
        prompts: list of str.
        training_images: uint8 (n, height, width, 3).
        feature_model: see `evaluation.extract_features`.

    Returns:
        For each prompt a dict of `prompt` and, by name, the mean similarity, rounded.
    """
    known, similarities = extract_features(feature_model, training_images), {}
    for name, made in images.items():
        distances, _ = memorisation(extract_features(feature_model, made.reshape(-1, *made.shape[2:])), known)
        similarities[name] = 1.0 - distances.reshape(made.shape[:2]).mean(axis=1)
    return [
        {"prompt": prompt, **{name: round(float(values[index]), 3) for name, values in similarities.items()}}
        for index, prompt in enumerate(prompts)
    ]
