"""The code of a registered model: MLflow copies this file beside the weights and runs the copy.

    model = mlflow.pyfunc.load_model("models:/uwmgi_segformer@best")
    masks = model.predict({"image": volume}, params={"spacing_mm": [1.5, 1.5, 3.0]})["masks"]

Nothing is unpickled: the weights are safetensors, the settings JSON, and both are read by medseg,
which has to be installed.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Segmenter(PythonModel):  # type: ignore[misc]
    """Segment one scan, the way ``medseg predict`` does."""

    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:  # noqa: ANN401 - MLflow's own
        """Build the network and what comes before and after it."""
        from monai.bundle import ConfigParser
        from safetensors.torch import load_file

        config = json.loads(Path(context.artifacts["inference"]).read_text())
        parser = ConfigParser({**config, "manifest": context.artifacts["manifest"]})
        parser.parse(reset=True)
        self._before, self._inferer, self._network = (
            parser.get_parsed_content(part) for part in ("preprocessing", "inferer", "network")
        )
        self._network.load_state_dict(load_file(context.artifacts["weights"]))
        self._network.eval()

    # MLflow takes hints for a second schema; the signature is the one there is.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201, ARG002
        """Return ``{"masks": (C, I, J, K)}``, uint8 of 0 and 1, on the volume's own grid.

        C runs over the organs in the order of the model's metadata. An organ that is nowhere is
        all zeros.

        Args:
            context: MLflow's own.
            model_input: ``{"image": (I, J, K)}``, intensities as they were measured; of a model
                of several channels ``(C, I, J, K)``. I grows to the patient's left, J to the back,
                K to the feet: columns, rows and slices of an axial series from head to feet.
            params: ``spacing_mm``, the voxel's edges along I, J and K.

        Raises:
            DataError: There is no spacing: without one a scan is not to be understood.
        """
        from medseg.errors import DataError, Problem
        from medseg.geometry import lpi_grid
        from medseg.transforms import on_grid

        i_mm, j_mm, k_mm = (float(edge) for edge in (params or {})["spacing_mm"])
        if min(i_mm, j_mm, k_mm) <= 0:
            found, fix = f"{i_mm:g} x {j_mm:g} x {k_mm:g} mm", "params={'spacing_mm': [i, j, k]}"
            raise DataError(Problem("E-SPACING", "volume", found, "three edges above 0 mm", fix))
        image = model_input["image"]
        channels = image if image.ndim == 4 else image[None]
        # Slices first in memory, as when they are read from files.
        voxels = np.ascontiguousarray(channels.transpose(0, 3, 2, 1), np.float32)
        grid = lpi_grid(channels.shape[1:], (i_mm, j_mm, k_mm))
        volume = on_grid(torch.from_numpy(voxels).permute(0, 3, 2, 1), grid)
        item = self._before({"scan_id": "volume", "image": volume})
        decided = self._inferer(item["image"], self._network, native=item["native"])
        return {"masks": np.asarray(decided.masks, np.uint8)}


set_model(Segmenter())
