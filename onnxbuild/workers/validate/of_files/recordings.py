"""Recordings as a speech model hears them: decoded, one channel, at the model's rate. And sounds drawn from a seed."""

from __future__ import annotations

import io
import math

import numpy as np

from onnxbuild.protocol import CheckFailed

RATE = 16_000  # of speech models whose processor names none
_LOWEST, _HIGHEST = 90.0, 240.0  # Hz, of a voice
_FORMANTS = (500.0, 1500.0, 2500.0)


def decoded(content: bytes, rate: int, place: str) -> np.ndarray:
    """A recording, [samples], mean of its channels, resampled to `rate`.

    Errors: CheckFailed OBE53 without soundfile, OBE141 if it is no recording.
    """
    try:
        import soundfile
    except ImportError as error:
        hint = "run `pip install 'onnxbuild[metrics]'` in the environment of the worker"
        raise CheckFailed("OBE53", "reading recordings needs soundfile", notes=[("hint", hint)]) from error
    try:
        samples, given = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise CheckFailed("OBE141", f"the recording of {place} cannot be read: {error.error_string}") from error
    if not len(samples):
        raise CheckFailed("OBE141", f"the recording of {place} is empty")
    return resampled(samples.mean(axis=1), given, rate)


def resampled(samples: np.ndarray, given: int, rate: int) -> np.ndarray:
    """The samples at another rate, through a filter that keeps what both rates can hold."""
    if given == rate:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(given, rate)
    return resample_poly(samples, rate // common, given // common).astype(np.float32)  # type: ignore[no-any-return]


def seeded_sounds(count: int, rate: int, seed: int) -> list[np.ndarray]:
    """Sounds of one to three seconds, each a humming tone with formants and pauses. They are no speech."""
    return [_hum(np.random.default_rng([seed, number]), rate) for number in range(count)]


def _hum(generator: np.random.Generator, rate: int) -> np.ndarray:
    length = int(rate * generator.uniform(1.0, 3.0))
    pitch = np.interp(np.arange(length), *_turns(generator, length, _LOWEST, _HIGHEST))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    loud = np.interp(np.arange(length), *_turns(generator, length, 0.0, 1.0))
    harmonics = range(1, int(rate / 2 / _HIGHEST))
    tone = sum(_gain(number * (_LOWEST + _HIGHEST) / 2) * np.sin(number * phase) for number in harmonics)
    sound = loud * tone + 0.02 * generator.standard_normal(length)
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)  # type: ignore[no-any-return]


def _turns(generator: np.random.Generator, length: int, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Places and values of a line that turns some times per second."""
    places = np.linspace(0, length, 12)
    return places, generator.uniform(low, high, len(places))


def _gain(frequency: float) -> float:
    return sum(math.exp(-(((frequency - formant) / 300) ** 2)) for formant in _FORMANTS) + 0.05
