import keras
import numpy as np
import pytest
from harness import GOLDEN, arrays, check_compiled, normal

from latentdiff import NoiseSchedule
from latentdiff.diffusion.noise_schedule import KINDS, PREDICTION_TYPES

SCHEDULES = {
    **{kind: NoiseSchedule(kind) for kind in KINDS},
    **{f"{kind}_zero_snr": NoiseSchedule(kind, zero_terminal_snr=True) for kind in KINDS[:3]},
}
PAIRS = [
    (name, prediction_type)
    for name, schedule in SCHEDULES.items()
    for prediction_type in PREDICTION_TYPES
    if prediction_type != "noise" or (schedule.preserves_variance and not schedule.zero_terminal_snr)
]
# Whole and fractional, both ends, the clean end too.
TIMESTEPS = np.array([-1, -0.5, 0, 0.25, 1, 499.5, 500, 900, 998.75, 999], "float32")


def rates(schedule, timesteps=TIMESTEPS):
    return arrays(schedule.rates(np.asarray(timesteps, "float32")))


# === Contract ===


@pytest.mark.parametrize("kind", KINDS)
def test_config(kind):
    schedule = NoiseSchedule(kind, 50, 0.001, 0.02, zero_terminal_snr=kind == "linear")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert copy.get_config() == schedule.get_config()
    np.testing.assert_array_equal(rates(copy, np.arange(50)), rates(schedule, np.arange(50)))


@pytest.mark.parametrize(
    "arguments",
    [{"kind": "sigmoid"}, {"num_train_timesteps": 1}, {"beta_start": 0.02}, {"beta_start": 0.0}, {"beta_end": 1.0}],
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}`.*Received: .*{list(arguments.values())[0]}"):
        NoiseSchedule(**arguments)


def test_noise_prediction_is_refused_where_no_signal_is_left():
    for name in ("rectified_flow", "cosine_zero_snr"):
        with pytest.raises(ValueError, match="`prediction_type` 'noise'"):
            SCHEDULES[name].check("noise")
    with pytest.raises(ValueError, match="`prediction_type` must be one of"):
        SCHEDULES["cosine"].check("epsilon")


@pytest.mark.parametrize("name", SCHEDULES)
def test_compiled_equals_eager(name):
    check_compiled(SCHEDULES[name].rates, keras.Model(), TIMESTEPS, tolerance=1e-6)


# === Laws ===


@pytest.mark.parametrize("name", SCHEDULES)
def test_law_of_the_kind_at_and_between_timesteps(name):
    signal_rates, noise_rates = rates(SCHEDULES[name])
    power = 2 if SCHEDULES[name].preserves_variance else 1
    np.testing.assert_allclose(signal_rates**power + noise_rates**power, 1.0, atol=3e-7)


@pytest.mark.parametrize("name", SCHEDULES)
def test_noise_grows_from_none(name):
    signal_rates, noise_rates = rates(SCHEDULES[name], np.arange(-1, 999.5, 0.25))
    assert (signal_rates[0], noise_rates[0]) == (1.0, 0.0)
    assert (np.diff(noise_rates) >= 0).all() and (np.diff(signal_rates) <= 0).all()
    assert (np.diff(noise_rates[::4])[:500] > 0).all() and (np.diff(signal_rates[::4])[500:] < 0).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_nothing_of_the_signal_is_left_at_terminal_snr_zero(name):
    signal_rates, noise_rates = rates(SCHEDULES[name], [999])
    if name.endswith("zero_snr") or name == "rectified_flow":
        assert (signal_rates[0], noise_rates[0]) == (0.0, 1.0)
    else:
        assert signal_rates[0] > 0.0


def test_zero_snr_keeps_the_first_timestep():
    np.testing.assert_allclose(
        rates(SCHEDULES["scaled_linear_zero_snr"], [0]), rates(SCHEDULES["scaled_linear"], [0]), atol=1e-7
    )


@pytest.mark.parametrize("name, prediction_type", PAIRS)
def test_prediction_and_target_are_inverse(name, prediction_type):
    """A perfect prediction is split into the very latents and noise that it was made of."""
    schedule = SCHEDULES[name]
    timesteps = np.array([0, 0.5, 3, 250, 500.25, 900, 990], "float32")
    latents, noise = normal(1, 7, 2, 2, 3), normal(2, 7, 2, 2, 3)
    noisy_latents = schedule.add_noise(latents, noise, timesteps)
    prediction = schedule.target(latents, noise, timesteps, prediction_type)
    pred_latents, pred_noise = arrays(schedule.split(prediction, noisy_latents, timesteps, prediction_type))
    signal_rates, noise_rates = (rate.reshape(-1, 1, 1, 1) for rate in rates(schedule, timesteps))
    # What the division by a small rate leaves of float32.
    assert (np.abs(pred_latents - latents) < 2e-6 + 1e-6 / signal_rates).all()
    assert (np.abs(pred_noise - noise) < 2e-6 + 1e-6 / noise_rates).all()


@pytest.mark.parametrize("name, prediction_type", PAIRS)
def test_any_prediction_is_split_consistently(name, prediction_type):
    """Whatever the network says, its two parts make up what it saw, and are a fixed point of target."""
    schedule, timesteps = SCHEDULES[name], np.array([2, 700.5], "float32")
    prediction, noisy_latents = normal(3, 2, 2, 2, 1), normal(4, 2, 2, 2, 1)
    parts = schedule.split(prediction, noisy_latents, timesteps, prediction_type)
    np.testing.assert_allclose(arrays(schedule.add_noise(*parts, timesteps)), noisy_latents, atol=2e-5)
    again = arrays(schedule.target(*parts, timesteps, prediction_type))
    np.testing.assert_allclose(again, prediction, atol=2e-5 / rates(schedule, timesteps)[1].min())


def test_velocity_is_the_derivative_along_the_path():
    """d noisy_latents / d angle for the kinds that preserve variance, d / d noise_rate for rectified flow."""
    latents, noise = normal(1, 1, 1, 1, 5).astype("float64"), normal(2, 1, 1, 1, 5).astype("float64")
    for name in ("cosine", "rectified_flow"):
        schedule = SCHEDULES[name]
        (signal, after_signal), (noise_rate, after_noise) = (r.astype("float64") for r in rates(schedule, [500, 502]))
        low, high = np.arcsin((noise_rate, after_noise)) if name == "cosine" else (noise_rate, after_noise)
        slope = ((after_signal - signal) * latents + (after_noise - noise_rate) * noise) / (high - low)
        velocity = arrays(schedule.target(latents.astype("f"), noise.astype("f"), np.array([501.0], "f"), "velocity"))
        np.testing.assert_allclose(velocity, slope, atol=1e-3)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weights(gamma):
    """Closed forms of arXiv:2303.09556: min(SNR, g) for latents, / SNR for noise, / (SNR + 1) for velocity."""
    timesteps = np.arange(0, 1000, 37)
    schedule = SCHEDULES["scaled_linear"]
    signal_rates, noise_rates = (values.astype("float64") for values in rates(schedule, timesteps))
    snr = signal_rates**2 / noise_rates**2
    assert snr.min() < gamma < snr.max()
    clipped = np.minimum(snr, gamma)
    for prediction_type, expected in {
        "latents": clipped,
        "noise": clipped / snr,
        "velocity": clipped / (snr + 1),
    }.items():
        weights = arrays(schedule.loss_weights(timesteps, prediction_type, gamma))
        np.testing.assert_allclose(weights, expected, rtol=1e-4)
        np.testing.assert_array_equal(arrays(schedule.loss_weights(timesteps, prediction_type)), 1.0)


@pytest.mark.parametrize("name, prediction_type", PAIRS)
def test_weighted_error_does_not_depend_on_what_is_predicted(name, prediction_type):
    """The weight turns an error of the prediction into min(SNR, 5) times the error of the latents that it implies."""
    schedule, timesteps = SCHEDULES[name], np.array([10.0, 400.0, 800.0], "float32")
    latents, noise, error = normal(1, 3, 1, 1, 1), normal(2, 3, 1, 1, 1), normal(3, 3, 1, 1, 1)
    noisy_latents = schedule.add_noise(latents, noise, timesteps)
    wrong = schedule.target(latents, noise, timesteps, prediction_type) + error
    pred_latents, _ = arrays(schedule.split(wrong, noisy_latents, timesteps, prediction_type))
    signal_rates, noise_rates = rates(schedule, timesteps)
    expected = np.minimum((signal_rates / noise_rates) ** 2, 5.0) * ((pred_latents - latents) ** 2).ravel()
    weights = arrays(schedule.loss_weights(timesteps, prediction_type, 5.0))
    np.testing.assert_allclose(weights * (error**2).ravel(), expected, rtol=2e-3)


# === Golden ===


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "cosine", "scaled_linear_zero_snr"])
def test_alpha_bars_of_diffusers(name):
    with np.load(GOLDEN / "schedules.npz") as golden:
        expected = golden[f"alpha_bars/{name}"]
    signal_rates, noise_rates = rates(SCHEDULES[name], np.arange(1000))
    np.testing.assert_allclose(signal_rates**2, expected, rtol=1e-4)
    np.testing.assert_allclose(noise_rates**2, 1 - expected.astype("float64"), rtol=1e-4, atol=1e-6)


def test_rectified_flow_by_hand():
    signal_rates, noise_rates = rates(NoiseSchedule("rectified_flow", 4), [-1, 0, 1, 2.5, 3])
    np.testing.assert_allclose(noise_rates, [0, 0.25, 0.5, 0.875, 1.0])
    np.testing.assert_allclose(signal_rates, [1, 0.75, 0.5, 0.125, 0.0])


def test_rectified_flow_ends_with_noise_anyway():
    with pytest.raises(ValueError, match="`zero_terminal_snr` must be False.*Received: zero_terminal_snr=True"):
        NoiseSchedule("rectified_flow", zero_terminal_snr=True)
    config = {**NoiseSchedule("rectified_flow").get_config(), "zero_terminal_snr": True}  # of an earlier version
    assert NoiseSchedule.from_config(config).get_config()["zero_terminal_snr"] is False
