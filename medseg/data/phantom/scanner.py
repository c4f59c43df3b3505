"""What a scanner makes of a body: coil, gradients, blur, noise, and a scale of its own."""

import numpy as np
from numpy.typing import NDArray

from medseg.data.phantom.canvas import Box, Floats
from medseg.data.phantom.noise import normals
from medseg.data.phantom.smooth_noise import SmoothNoise


class Scanner:
    """The conditions of one scan; `see` turns painted signal into grey values."""

    def __init__(self, rng: np.random.Generator, *, peak: float) -> None:
        self._rng, self._peak = rng, peak
        self._coil = SmoothNoise(rng, cell_mm=(120.0, 120.0, 150.0), cells=8)
        self._noise = float(rng.uniform(0.005, 0.014))
        self._blur = float(rng.uniform(0.06, 0.16))
        self._surface = float(rng.uniform(0.25, 0.75))
        self._uneven = float(rng.uniform(0.08, 0.15))
        self._edge_mm = float(rng.uniform(185, 240))

    def see(
        self,
        signal: Floats,
        place_mm: tuple[Floats, Floats, float],
        window: Box,
        shape_hw: tuple[int, ...],
    ) -> NDArray[np.uint16]:
        """Return the grey values ``(H, W)`` of a slice of which a window was painted.

        Signal grows towards the surface coils and falls off at both ends of the bore; outside the
        gradients' reach there is none. Magnitudes of complex noise are Rician (Gudbjartsson and
        Patz 1995).

        Args:
            signal: The painted window; air around it.
            place_mm: The window's columns, its rows, and the height of the slice.
            window: Where the window lies in the picture.
            shape_hw: Rows and columns of the picture.
        """
        columns_mm, rows_mm, z_mm = place_mm
        x, y = columns_mm[None], rows_mm[:, None]
        near = (x / 160) ** 2 + (y / 115) ** 2
        end = np.float32(np.exp(-(((z_mm - 205) / 215) ** 4)))
        gain = np.exp(np.float32(self._uneven) * self._coil.plane(columns_mm, rows_mm, z_mm))
        gain *= (1 - self._surface / 2 + self._surface * near) * end
        end_mm = 45 * ((z_mm - 216) / 216) ** 4
        reach = self._edge_mm - 25 * (y / 200) ** 2 - end_mm * (1 + (y / 100) ** 2)
        gain *= np.clip((reach - np.abs(x)) / 3, 0, 1)
        noise = normals(self._rng, (2, *shape_hw))
        noise[0][window] += self._blurred(signal * gain) * np.float32(1 / self._noise)
        noise *= noise
        seen = np.sqrt(np.add(noise[0], noise[1], out=noise[0]), out=noise[0])
        seen *= np.float32(self._noise * self._peak)
        seen += np.float32(0.5)
        pixels: NDArray[np.uint16] = np.minimum(seen, 65535, out=seen).astype(np.uint16)
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
