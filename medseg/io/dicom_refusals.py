"""Which images can be cleaned of whose they are: those whose pixels show no more than a body."""

from collections.abc import Iterator

from pydicom import DataElement, Dataset, uid
from pydicom.tag import BaseTag

_CLEANABLE = {
    uid.MRImageStorage,
    uid.EnhancedMRImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage,
    uid.CTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
}
_SCREENS = {"SCREEN SAVE", "SCREENSHOT", "SCREEN", "DOSE_INFO", "DOSE INFO", "PATIENT_PROTOCOL"}

_OVERLAYS = range(0x6000, 0x6100, 2)
_IMAGE_TYPE = BaseTag(0x00080008)


def reasons(dataset: Dataset) -> Iterator[str]:
    """Yield why an image cannot be cleaned."""
    kind = uid.UID(str(dataset.get("SOPClassUID", "")))
    if kind not in _CLEANABLE:
        # The name is the standard's; of a class that it does not know it is the UID.
        known = kind.name.removesuffix(" Storage") if kind.name != kind else "of an unknown kind"
        yield f"is {known}, which may hold names anywhere"
    if str(dataset.get("BurnedInAnnotation", "")).strip() == "YES":
        yield "has writing in its pixels (BurnedInAnnotation)"
    if str(dataset.get("RecognizableVisualFeatures", "")).strip() == "YES":
        yield "shows a face or the like (RecognizableVisualFeatures)"
    words = {word.strip() for word in values_of(decoded(dataset, _IMAGE_TYPE))}
    if words & _SCREENS:
        yield "is a picture of a screen (ImageType)"
    if not str(dataset.get("PhotometricInterpretation", "MONOCHROME")).startswith("MONOCHROME"):
        yield "is in colour, as pictures of screens are"
    if any(_is_embedded(dataset, group) for group in _OVERLAYS):
        yield "has an overlay in the bits of its pixels"


def _is_embedded(dataset: Dataset, group: int) -> bool:
    """Return whether an overlay lies in the unused bits of pixels. Source: PS3.3 C.9.2, retired."""
    position = decoded(dataset, BaseTag(group << 16 | 0x0102))
    return bool(position and position.value) and (group << 16 | 0x3000) not in dataset


def decoded(dataset: Dataset, tag: BaseTag) -> DataElement | None:
    """Return an element; None where there is none, or its bytes are not of its kind."""
    try:
        element = dataset.get(tag)
    except (ValueError, TypeError, OverflowError, LookupError, AttributeError, RuntimeError):
        return None
    return element


def values_of(element: DataElement | None) -> list[str]:
    """Return an element's values as text, none where it is empty or not there."""
    if element is None or element.value is None or element.value == "":
        return []
    many = element.VM > 1
    return [str(value) for value in (element.value if many else [element.value])]
