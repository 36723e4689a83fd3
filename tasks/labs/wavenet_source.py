"""What the WaveNet lab learns from, and what it is compared with: a tone, its levels, a linear autoregression."""

from __future__ import annotations

import numpy as np

AMPLITUDES = (0.5, 0.3, 0.2, 0.15, 0.1)  # of the harmonics of the tone
PHASES = (0.0, 1.0, 2.5, 0.5, 4.0)
PERIOD = 24.0  # samples, of the fundamental
VIBRATO, DEPTH = 600.0, 0.06  # its period in samples, and how far it takes the frequency
WANDER = 2e-4  # standard deviation of a sample's step of the relative frequency
NOISE = 0.02  # standard deviation of what is added


# --- the waveform


def tone(n: int, rng: np.random.Generator) -> np.ndarray:
    """n samples of a tone of five harmonics with vibrato and a wandering pitch, without noise."""
    t = np.arange(n)
    pitch = 1 + DEPTH * np.sin(2 * np.pi * (t / VIBRATO + rng.random())) + WANDER * np.cumsum(rng.standard_normal(n))
    phase = 2 * np.pi * (np.cumsum(pitch) / PERIOD + rng.random())
    return 0.8 * sum(a * np.cos(k * phase + b) for k, (a, b) in enumerate(zip(AMPLITUDES, PHASES), start=1))


def recording(n: int, levels: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A tone, and its levels once noise is added."""
    clean = tone(n, rng)
    return clean, quantise(clean + NOISE * rng.standard_normal(n), levels)


def quantise(x: np.ndarray, levels: int) -> np.ndarray:
    """The level 0 .. levels - 1 of samples: mu-law, then equal parts."""
    mu = levels - 1
    y = np.sign(x) * np.log1p(mu * abs(np.clip(x, -1, 1))) / np.log1p(mu)
    return np.minimum((y + 1) / 2 * levels, levels - 1).astype(np.int64)


def expand(y: np.ndarray, levels: int) -> np.ndarray:
    """The inverse of the mu-law, from places 0 .. levels on its scale to -1 .. 1; i + 0.5 is the middle of level i."""
    mu = levels - 1
    y = 2 * np.asarray(y) / levels - 1
    return np.sign(y) * np.expm1(abs(y) * np.log1p(mu)) / mu


# --- what it is compared with


class Autoregression:
    """x_t as a linear function of the p samples before it, plus Gaussian noise; least squares."""

    def __init__(self, codes: np.ndarray, order: int, levels: int):
        self.levels, self.order = levels, order
        past, now = self._pairs(codes)
        gram = past.T @ past + 1e-6 * len(past) * np.eye(order + 1)
        self.weights = np.linalg.solve(gram, past.T @ now)
        self.deviation = float(np.std(now - past @ self.weights))

    def _pairs(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(T - p, p + 1) past samples and a 1, and (T - p,) the samples that follow."""
        x = expand(codes + 0.5, self.levels)
        past = np.lib.stride_tricks.sliding_window_view(x[:-1], self.order)
        return np.hstack([past, np.ones((len(past), 1))]), x[self.order :]

    def bits(self, codes: np.ndarray) -> float:
        """As `bits` of a net: the Gaussian's mass in each level is its probability."""
        past, _ = self._pairs(codes)
        return gaussian_bits(past @ self.weights, self.deviation, codes[self.order :], self.levels)

    def generate(self, codes: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """n more levels, each drawn from the Gaussian and quantised."""
        x = list(expand(codes[-self.order :] + 0.5, self.levels))
        drawn = []
        for noise in self.deviation * rng.standard_normal(n):
            new = np.dot(self.weights, [*x[-self.order :], 1]) + noise
            drawn.append(int(quantise(new, self.levels)))
            x.append(float(expand(drawn[-1] + 0.5, self.levels)))
        return np.array(drawn)


def gaussian_bits(mean: np.ndarray, deviation: float, codes: np.ndarray, levels: int) -> float:
    """Cross entropy, in bits, of levels whose samples are Gaussian; what lies beyond -1 or 1 is in the last levels."""
    from scipy.stats import norm

    low = np.where(codes == 0, -np.inf, expand(codes, levels))
    high = np.where(codes == levels - 1, np.inf, expand(codes + 1, levels))
    a, b = (low - mean) / deviation, (high - mean) / deviation
    mirrored = a > 0  # the far tail is exact only on the left
    a, b = np.where(mirrored, -b, a), np.where(mirrored, -a, b)
    return float(-np.log2(np.maximum(norm.cdf(b) - norm.cdf(a), 1e-300)).mean())


def spectrum(x: np.ndarray) -> np.ndarray:
    """Power by frequency, in dB: means over pieces of 256 samples (Welch)."""
    from scipy.signal import welch

    return 10 * np.log10(welch(x, nperseg=min(256, len(x)))[1] + 1e-8)
