"""What may stay of an image that must not tell whose it is: PS3.15 E.1-1's Basic Profile, and less.

What stays is listed: numbers, code strings, identifiers and dates that became others, the few texts
that images must have. The rest of the standard's elements and all private ones go.
"""

import re
from datetime import datetime, timedelta
from functools import cache
from typing import Protocol

from pydicom import DataElement, Dataset, Sequence
from pydicom.sr.codedict import codes
from pydicom.tag import BaseTag

from medseg.io.dicom_refusals import decoded, values_of

METHOD = "medseg: PS3.15 E.1 Basic Profile; dates shifted"

_REMOVED = "REMOVED"

# Type 2 in the modules of images: present and empty.
_EMPTIED = {
    "AccessionNumber",
    "AcquisitionContextSequence",
    "ContrastBolusAgent",
    "PatientBirthDate",
    "PatientSex",
    "PositionReferenceIndicator",
    "ReferringPhysicianName",
    "StudyID",
}
# Type 1 in enhanced images, where an empty value is none.
_REPLACED = {"DeviceSerialNumber", "Manufacturer", "ManufacturerModelName", "SoftwareVersions"}
_MAKERS: tuple[str, ...] = (
    "siemens",
    "ge medical",
    "philips",
    "canon",
    "toshiba",
    "hitachi",
    "united imaging",
)
_MAKERS += ("viewray", "elekta", "varian", "fujifilm", "bruker", "mediso", "esaote", "medseg")
_UNITS = {"HU", "HU_MOD", "US", "OD", "PCT", "MGML", "Z_EFF", "ED", "EDW"}
# Table E.1-1's numbers and codes; of GPSInformation all that begins so.
_NUMBERS_REMOVED = {
    "InstanceOriginStatus",
    "LensSpecification",
    "ModifyingDeviceID",
    "PatientSexNeutered",
    "PatientSize",
    "PatientWeight",
    "PregnancyStatus",
    "ReasonForTheAttributeModification",
    "SmokingStatus",
}
# Patient, trial, request, visit, signatures, results, curves and overlays.
_GROUPS_REMOVED = {0x0010, 0x0012, 0x0032, 0x0038, 0x0400, 0x4008, 0x4010}
_GROUPS_REMOVED |= {0x5000 + n for n in range(256)} | {0x6000 + n for n in range(256)}
_KEPT_OF_PROCEDURES = {"ConceptNameCodeSequence", "MeasurementUnitsCodeSequence"}
_SEQUENCES = {
    "AnatomicRegionSequence",
    "DimensionIndexSequence",
    "DimensionOrganizationSequence",
    "ModalityLUTSequence",
    "PerFrameFunctionalGroupsSequence",
    "RealWorldValueMappingSequence",
    "ReferencedImageEvidenceSequence",
    "ReferencedImageSequence",
    "ReferencedSeriesSequence",
    "SharedFunctionalGroupsSequence",
    "SourceImageEvidenceSequence",
    "SourceImageSequence",
    "VOILUTSequence",
}
# Legacy converted images keep here whatever the originals held; an item there must be.
_SEQUENCES_EMPTIED = {
    "UnassignedPerFrameConvertedAttributesSequence",
    "UnassignedSharedConvertedAttributesSequence",
}
_BULK = {
    "DoubleFloatPixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "FloatPixelData",
    "LUTData",
    "PixelData",
}
_BULK_VRS = {"OB", "OW", "OF", "OD", "OL", "OV", "OB or OW", "US or OW", "US or SS or OW"}
_NUMBER_VRS = {"AT", "DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV", "US or SS"}
_CODE_SCHEMES = ("SCT", "DCM", "UCUM")


class Others(Protocol):
    """What stands for identifiers and short texts."""

    def uid(self, original: str) -> str:
        """Return the UID that stands for another."""

    def word(self, original: str) -> str:
        """Return the word that stands for another."""


class Cleaning:
    """Goes through the elements of a patient's data sets.

    Args:
        others: What stands for identifiers.
        days: How much earlier the patient's dates become.
    """

    def __init__(self, others: Others, days: int) -> None:
        self._identity, self._earlier = others, timedelta(days=days)

    def of(self, dataset: Dataset, *, is_top: bool = False) -> Dataset:
        """Return what may stay of a data set, or of an item of a sequence."""
        cleaned = Dataset()
        for tag in sorted(dataset.keys()):
            element = decoded(dataset, tag)
            if element is not None:
                kept = self._element(element, is_top=is_top)
                if kept is not None:
                    cleaned.add(kept)
        return cleaned

    def _element(self, element: DataElement, *, is_top: bool) -> DataElement | None:
        word = element.keyword
        if is_top and word in _EMPTIED:
            return DataElement(element.tag, element.VR, None)
        if _is_removed(element.tag, word):
            return None
        if element.VR == "SQ":
            return self._sequence(element, is_top=is_top)
        if element.VR in _NUMBER_VRS or (element.VR in _BULK_VRS and word in _BULK):
            return element
        value = self._value(element, is_top=is_top)
        return None if value is None else DataElement(element.tag, element.VR, value)

    def _value(self, element: DataElement, *, is_top: bool) -> str | list[str] | None:
        """Return what a text, a date or an identifier becomes; None when it goes."""
        values = values_of(element)
        match element.VR:
            case "UI":
                return [self._identity.uid(value) for value in values]
            case "CS":
                return _codes(values)
            case "DA" | "DT":
                midnight = "000000" if element.VR == "DT" else ""
                dates = [self._date(value[:8]) for value in values]
                return [date and date + midnight for date in dates]
            case "TM":
                return ["000000"] * len(values)
            case "LO" | "SH":
                return self._text(element, is_top=is_top)
        return None

    def _text(self, element: DataElement, *, is_top: bool) -> str | None:
        value = "".join(values_of(element)[:1]).strip()
        if element.keyword == "Manufacturer" and value.lower().startswith(_MAKERS):
            return next(maker for maker in _MAKERS if value.lower().startswith(maker)).upper()
        if element.keyword == "RescaleType":
            return value if value in _UNITS else "US"
        if element.keyword == "StackID":
            return self._identity.word(value) if value else ""
        # What functional groups need is needed with a value, and a word more does not hurt.
        needed = not is_top or element.keyword in _REPLACED
        return (_REMOVED if value else "") if needed else None

    def _sequence(self, element: DataElement, *, is_top: bool) -> DataElement | None:
        if element.keyword in _SEQUENCES_EMPTIED:
            return DataElement(element.tag, "SQ", Sequence([Dataset()]))
        if is_top and element.keyword not in _SEQUENCES:
            return None
        items = [_code(item) if _is_code(item) else self.of(item) for item in element.value]
        # An item from which all is gone says nothing, and would lack what its sequence wants.
        left = [
            kept for kept, item in zip(items, element.value, strict=True) if len(kept) or not item
        ]
        return DataElement(element.tag, "SQ", Sequence(left)) if left or not items else None

    def _date(self, text: str) -> str:
        try:
            return f"{datetime.strptime(text.strip(), '%Y%m%d') - self._earlier:%Y%m%d}"
        except (ValueError, OverflowError):
            return ""


def sign(cleaned: Dataset, pseudonym: str) -> None:
    """Add who it is now, and what was done. Source: PS3.15 E.2, PS3.16 CID 7050."""
    cleaned.PatientID = cleaned.PatientName = pseudonym
    cleaned.PatientIdentityRemoved = "YES"
    cleaned.LongitudinalTemporalInformationModified = "MODIFIED"
    cleaned.DeidentificationMethod = METHOD
    done = (
        ("113100", "Basic Application Confidentiality Profile"),
        ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    )
    cleaned.DeidentificationMethodCodeSequence = Sequence()
    for value, meaning in done:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        cleaned.DeidentificationMethodCodeSequence.append(item)


def _is_removed(tag: BaseTag, word: str) -> bool:
    return (
        tag.is_private
        # Procedures, up to the mapping of stored values to real ones.
        or (tag.group == 0x0040 and tag.element < 0x8000 and word not in _KEPT_OF_PROCEDURES)
        or tag.group in _GROUPS_REMOVED
        or word in _NUMBERS_REMOVED
        or word.startswith("GPS")
        # What is left is ASCII.
        or word == "SpecificCharacterSet"
    )


def _codes(values: list[str]) -> list[str] | None:
    """Return code strings; None where something else is among them."""
    words = [value.strip() for value in values]
    return words if all(re.fullmatch("[A-Z0-9 _]{0,16}", word) for word in words) else None


def _is_code(item: Dataset) -> bool:
    return "CodeValue" in item or "CodeMeaning" in item or "LongCodeValue" in item


def _code(item: Dataset) -> Dataset:
    """Return a code of the standard's dictionaries with their words, or an empty item."""
    cleaned = Dataset()
    value, scheme = str(item.get("CodeValue", "")), str(item.get("CodingSchemeDesignator", ""))
    meaning = _meanings().get((scheme, value))
    if meaning is not None:
        cleaned.CodeValue, cleaned.CodingSchemeDesignator = value, scheme
        cleaned.CodeMeaning = meaning[:64]
    return cleaned


@cache
def _meanings() -> dict[tuple[str, str], str]:
    """Return what codes mean, by scheme and value."""
    found = {}
    for scheme in _CODE_SCHEMES:
        collection = getattr(codes, scheme)
        for name in collection.dir():
            code = getattr(collection, name)
            found[scheme, code.value] = code.meaning
    return found
