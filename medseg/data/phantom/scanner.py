"""What a scanner makes of a body: coil, gradients, blur, noise, and a scale of its own."""

import numpy as np
from numpy.typing import NDArray

from medseg.data.phantom.canvas import Floats
from medseg.data.phantom.smooth_noise import SmoothNoise


class Scanner:
    """The conditions of one scan; `see` turns painted signal into grey values."""

    def __init__(self, rng: np.random.Generator, *, peak: float) -> None:
        self._rng, self._peak = rng, peak
        self._coil = SmoothNoise(rng, cell_mm=(120.0, 120.0, 150.0), cells=8)
        self._noise = float(rng.uniform(0.008, 0.022))
        self._blur = float(rng.uniform(0.06, 0.16))
        self._surface = float(rng.uniform(0.15, 0.5))
        self._uneven = float(rng.uniform(0.08, 0.15))
        self._edge_mm = float(rng.uniform(188, 235))

    def see(
        self, signal: Floats, columns_mm: Floats, rows_mm: Floats, z_mm: float
    ) -> NDArray[np.uint16]:
        """Return the grey values ``(H, W)`` of a slice painted on these columns and rows.

        Signal grows towards the surface coils and falls off at both ends of the bore; outside the
        gradients' reach there is none. Magnitudes of complex noise are Rician (Gudbjartsson and
        Patz 1995).
        """
        x, y = columns_mm[None], rows_mm[:, None]
        near = (x / 165) ** 2 + (y / 112) ** 2
        end = np.float32(np.exp(-(((z_mm - 200) / 225) ** 4)))
        gain = np.exp(np.float32(self._uneven) * self._coil.plane(columns_mm, rows_mm, z_mm))
        gain *= (1 - self._surface / 2 + self._surface * near) * end
        reach = self._edge_mm - 22 * (y / 200) ** 2 - 18 * ((z_mm - 216) / 216) ** 2
        gain *= np.clip((reach - np.abs(x)) / 3, 0, 1)
        seen = self._blurred(signal * gain)
        noise = self._rng.standard_normal((2, *seen.shape), np.float32) * np.float32(self._noise)
        noise[0] += seen
        seen = np.sqrt(noise[0] * noise[0] + noise[1] * noise[1])
        pixels: NDArray[np.uint16] = np.clip(seen * self._peak + 0.5, 0, 65535).astype(np.uint16)
        return pixels

    def _blurred(self, signal: Floats) -> Floats:
        side, middle = np.float32(self._blur), np.float32(1 - 2 * self._blur)
        rows = middle * signal
        rows[1:] += side * signal[:-1]
        rows[:-1] += side * signal[1:]
        both = middle * rows
        both[:, 1:] += side * rows[:, :-1]
        both[:, :-1] += side * rows[:, 1:]
        return both
