"""The dtype policy in the config of a model."""

import keras


def given(dtype):
    """What a config says of the `dtype` argument of a model: its name if there was one, and nothing otherwise.

    A model without one takes the policy of the day, also when it is opened again.
    """
    return {} if dtype is None else {"dtype": keras.dtype_policies.get(dtype).name}
