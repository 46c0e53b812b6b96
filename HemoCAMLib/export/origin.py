"""Who made the exported objects: software, model, map method, and what every object says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from HemoCAMLib import __version__
from HemoCAMLib.export.codes import ARTIFICIAL_INTELLIGENCE
from HemoCAMLib.export.headers import derived_uid
from HemoCAMLib.run.result import Result
from HemoCAMLib.subtypes import SUBTYPE_NAMES

if TYPE_CHECKING:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.sr import AlgorithmIdentification, ObserverContext

MANUFACTURER = "HemoCAM"
#: Said in every object: in a description that viewers show, and in full in the report.
RESEARCH_USE = "Research use only"
RESEARCH_STATEMENT = (
    "Made by research software that is not a medical device and has no clearance of any kind. Not for diagnosis or "
    "treatment. Unverified output of an algorithm."
)

#: Longest text of the value types LO and SH (PS3.5 6.2).
_LONG_STRING, _SHORT_STRING = 64, 16


@dataclass(frozen=True)
class Origin:
    """The algorithm behind a run, as its result names it.

    Attributes:
        model: name of the bundle.
        version: of the bundle.
        checksum: SHA-256 of its weights, hexadecimal.
        map_method: how the activation maps were made.
        settings: of the masks, as ``result.json`` has them.
    """

    model: str
    version: str
    checksum: str
    map_method: str
    settings: dict[str, Any]

    @classmethod
    def of(cls, result: Result) -> Origin:
        model, settings = result.fields["model"], result.fields["settings"]
        return cls(
            str(model["name"]),
            str(model["version"]),
            str(model["checksum"]),
            result.map_method,
            dict(settings["mask"]),
        )

    @property
    def name(self) -> str:
        """The bundle's name, cut to what an algorithm name may hold."""
        return self.model[:_LONG_STRING]

    def parameters(self) -> dict[str, str]:
        """What decides the result besides the scan: checksum, map method, gates and thresholds by subtype."""
        texts = {"weights SHA-256": self.checksum, "map method": self.map_method}
        for title, table in (("gate", "class_thresholds"), ("mask threshold", "mask_thresholds")):
            values = self.settings.get(table)
            if isinstance(values, dict):
                texts.update({f"{title} {name}": f"{values[name]:g}" for name in SUBTYPE_NAMES if name in values})
        texts.update(
            {name: str(self.settings[name]) for name in ("scale", "minimum_volume_ml") if name in self.settings}
        )
        return texts

    def equipment(self) -> dict[str, Any]:
        """Arguments of highdicom for the General and Enhanced General Equipment modules (PS3.3 C.7.5.1, C.7.5.2)."""
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": MANUFACTURER,
            "software_versions": [f"HemoCAM {__version__}", f"{self.model} {self.version}"[:_LONG_STRING]],
            # Software has no serial number; which weights were used is what tells two installations apart.
            "device_serial_number": f"{__version__}-{self.checksum[:12]}",
        }

    def for_segment(self) -> AlgorithmIdentificationSequence:
        """Segmentation Algorithm Identification Sequence (PS3.3 10.16)."""
        from highdicom import AlgorithmIdentificationSequence

        return AlgorithmIdentificationSequence(
            name=self.name,
            family=ARTIFICIAL_INTELLIGENCE,
            version=self.version[:_LONG_STRING],
            source=MANUFACTURER,
            parameters=self.parameters(),
        )

    def for_report(self) -> AlgorithmIdentification:
        """Algorithm Identification (PS3.16 TID 4019)."""
        from highdicom.sr import AlgorithmIdentification

        return AlgorithmIdentification(
            name=self.name,
            version=self.version,
            parameters=[f"{name}={value}" for name, value in self.parameters().items()],
            family=ARTIFICIAL_INTELLIGENCE,
            manufacturer=MANUFACTURER,
        )

    def observer(self) -> ObserverContext:
        """The device that observed (PS3.16 TID 1004). No person did, so none is named."""
        from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
        from pydicom.sr.codedict import codes

        attributes = DeviceObserverIdentifyingAttributes(
            uid=derived_uid("device", __version__, self.checksum),
            name="HemoCAM",
            manufacturer_name=MANUFACTURER,
            model_name=f"{self.model} {self.version}",
            serial_number=f"{__version__}-{self.checksum[:12]}",
        )
        return ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=attributes)


def short_text(text: str) -> str:
    """Text cut to what a short string may hold (PS3.5 6.2, SH)."""
    return text[:_SHORT_STRING]
