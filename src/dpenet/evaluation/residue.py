"""How much rain is left in a picture whose clean scene nobody knows.

Streaks are bright, thin and long, lean alike, and are everywhere. A bank of oriented filters
measures the energy of such lines in every direction; what the rain's direction has more than the
typical one is the rain's, the rest is the scene's. A blur lowers this figure too, so it says
something only beside a test that clean pictures stay as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ANGLES = np.arange(-90, 90, 5)
"""Lean from the vertical in degrees, positive with the top to the right (as in dpenet.rain)."""
STEEPEST = 60
"""Rain is looked for at most so many degrees from the vertical: what lies flatter is the scene."""
ACROSS, ALONG = 1.2, 8.0
"""Standard deviations in pixels of the line filter: second derivative across, blur along."""
CAP = 6.0
"""Greatest response that counts, in grey levels of 255: a few strong edges of the scene must not
outweigh many faint streaks."""

Array = NDArray[Any]


def line_energy(picture: Array) -> NDArray[np.float64]:
    """Energy of bright thin lines by direction.

    Args:
        picture: (H, W, 3) or (H, W), 0..255.

    Returns:
        Square of the mean capped response, for each of ``ANGLES``.
    """
    grey = np.asarray(picture, np.float64)
    if grey.ndim == 3:
        grey = grey.mean(axis=2)
    margin = int(4 * ALONG)
    padded = np.pad(grey, margin, mode="reflect" if min(grey.shape) > margin else "edge")
    spectrum = np.fft.rfft2(padded)
    v = 2 * np.pi * np.fft.fftfreq(padded.shape[0])[:, None]
    u = 2 * np.pi * np.fft.rfftfreq(padded.shape[1])[None, :]
    energies = []
    for angle in np.radians(ANGLES):
        across = u * np.cos(angle) + v * np.sin(angle)
        along = u * np.sin(angle) - v * np.cos(angle)
        response = (ACROSS * across) ** 2 * np.exp(
            -((ACROSS * across) ** 2 + (ALONG * along) ** 2) / 2
        )
        lines = np.fft.irfft2(spectrum * response, padded.shape)[margin:-margin, margin:-margin]
        energies.append(np.mean(np.minimum(np.maximum(lines, 0), CAP)) ** 2)
    return np.asarray(energies)


def rain_angle(picture: Array) -> int:
    """The direction with the most line energy, among those in which rain falls, in degrees."""
    steep = np.abs(ANGLES) <= STEEPEST
    return int(ANGLES[steep][np.argmax(line_energy(picture)[steep])])


def residue(picture: Array, angle: int) -> float:
    """Line energy in the rain's direction above that of the median direction, at least 0.

    Args:
        picture: (H, W, 3) or (H, W), 0..255.
        angle: Of the rain, one of ``ANGLES``: take `rain_angle` of the rainy picture.
    """
    energy = line_energy(picture)
    at = int(np.argmin(np.abs(ANGLES - angle)))
    return max(0.0, float(energy[at] - np.median(energy)))
