"""File formats: one outside format a module, strict about what it accepts.

``png`` reads 16-bit slices, ``pictures`` PNG and TIFF of grey or RGB and the masks drawn so,
``tiff`` judges the latter; ``rle`` run-length masks, ``nifti`` volumes, label maps and masks,
``colour_tables`` writes what viewers call their codes, ``strict_yaml`` and ``strict_json`` read
checked files,
``itk_headers`` and ``itk`` NRRD and MetaImage, ``images`` any of the volumes by its name,
``dicom_series`` finds DICOM series and ``dicom_pixels`` reads their voxels,
``rtstruct`` draws contours for planning systems, ``dicom_seg`` keeps masks beside their images,
``atomic`` replaces a file whole or not at all. The names below load their module on first use, so
that reading a slice never imports a volume library.
"""

from typing import TYPE_CHECKING

from medseg.lazy import loader

if TYPE_CHECKING:
    from medseg.io.atomic import replacing
    from medseg.io.colour_tables import write_itksnap, write_slicer
    from medseg.io.dicom_identity import Identity, read_identity
    from medseg.io.dicom_peers import Peer, peer_of
    from medseg.io.dicom_pixels import read_series
    from medseg.io.dicom_seg import write_seg
    from medseg.io.dicom_series import find_series
    from medseg.io.dicom_sources import sources_of
    from medseg.io.dicom_written import Algorithm
    from medseg.io.images import Reading, read_source
    from medseg.io.nifti import (
        Frame,
        Image,
        read_image,
        read_label_map,
        read_volume,
        write_image,
        write_label_map,
        write_mask,
        write_probs,
    )
    from medseg.io.pictures import read_mask, read_picture
    from medseg.io.png import PngHeader, read_header, read_slice, write_slice
    from medseg.io.rtstruct import write_rtstruct

_HOMES = {
    "Algorithm": "dicom_written",
    "Frame": "nifti",
    "Identity": "dicom_identity",
    "Image": "nifti",
    "Peer": "dicom_peers",
    "PngHeader": "png",
    "Reading": "images",
    "find_series": "dicom_series",
    "peer_of": "dicom_peers",
    "read_header": "png",
    "read_identity": "dicom_identity",
    "read_image": "nifti",
    "read_label_map": "nifti",
    "read_mask": "pictures",
    "read_picture": "pictures",
    "read_series": "dicom_pixels",
    "read_slice": "png",
    "read_source": "images",
    "read_volume": "nifti",
    "replacing": "atomic",
    "sources_of": "dicom_sources",
    "write_image": "nifti",
    "write_itksnap": "colour_tables",
    "write_label_map": "nifti",
    "write_mask": "nifti",
    "write_probs": "nifti",
    "write_rtstruct": "rtstruct",
    "write_seg": "dicom_seg",
    "write_slice": "png",
    "write_slicer": "colour_tables",
}

__all__ = [
    "Algorithm",
    "Frame",
    "Identity",
    "Image",
    "Peer",
    "PngHeader",
    "Reading",
    "find_series",
    "peer_of",
    "read_header",
    "read_identity",
    "read_image",
    "read_label_map",
    "read_mask",
    "read_picture",
    "read_series",
    "read_slice",
    "read_source",
    "read_volume",
    "replacing",
    "sources_of",
    "write_image",
    "write_itksnap",
    "write_label_map",
    "write_mask",
    "write_probs",
    "write_rtstruct",
    "write_seg",
    "write_slice",
    "write_slicer",
]

__getattr__ = loader(__name__, _HOMES)
