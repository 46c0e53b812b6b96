"""What changed between two results, and on which side of the published lines the change lies."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from HemoCAMLib.report.facts import signed
from HemoCAMLib.run.result import Result
from HemoCAMLib.subtypes import SUBTYPE_NAMES

#: Expansion of an intraparenchymal hemorrhage: growth by at least one of these (Dowlatshahi et al., Neurology 2011).
EXPANSION_ML, EXPANSION_PERCENT = 6.0, 33.0

#: Growth of intraventricular blood that the revised definition counts (Yogendrakumar et al., Stroke 2020).
IVH_GROWTH_ML = 1.0


@dataclass(frozen=True)
class SubtypeChange:
    """One subtype, or all together.

    Attributes:
        first_ml: volume in the first scan.
        second_ml: volume in the second.
    """

    first_ml: float
    second_ml: float

    @property
    def change_ml(self) -> float:
        """Second minus first."""
        return self.second_ml - self.first_ml

    @property
    def change_percent(self) -> float | None:
        """Of the first volume; None where that is 0."""
        return 100 * self.change_ml / self.first_ml if self.first_ml > 0 else None

    @property
    def is_new(self) -> bool:
        """Absent in the first scan, present in the second."""
        return self.first_ml == 0 < self.second_ml

    @property
    def is_gone(self) -> bool:
        """Present in the first scan, absent in the second."""
        return self.second_ml == 0 < self.first_ml


@dataclass(frozen=True)
class Change:
    """All subtypes, by name, and ``total``."""

    subtypes: dict[str, SubtypeChange]

    def __getitem__(self, name: str) -> SubtypeChange:
        return self.subtypes[name]

    @property
    def iph_expanded(self) -> bool | None:
        """Whether IPH grew by 6 mL or by 33 % or more; None where the first scan has none to grow."""
        iph = self["IPH"]
        if iph.first_ml == 0 or iph.change_percent is None:
            return None
        return iph.change_ml >= EXPANSION_ML or iph.change_percent >= EXPANSION_PERCENT

    @property
    def new_ivh(self) -> bool:
        """Whether the second scan shows intraventricular blood and the first none."""
        return self["IVH"].is_new

    @property
    def ivh_grew(self) -> bool:
        """Whether intraventricular blood grew by 1 mL or more, new blood included."""
        return self["IVH"].change_ml >= IVH_GROWTH_ML

    def sentences(self) -> list[str]:
        """Facts, no advice."""
        iph, ivh = self["IPH"], self["IVH"]
        found = []
        if iph.change_percent is not None:
            line = f"{EXPANSION_ML:g} mL or {EXPANSION_PERCENT:g} %"
            verb = "meets" if self.iph_expanded else "does not meet"
            found.append(
                f"IPH changed by {signed(iph.change_ml, 1)} mL ({signed(iph.change_percent, 0)} %), which {verb} the "
                f"criterion of hematoma expansion, growth by {line} or more (Dowlatshahi et al., Neurology 2011)."
            )
        elif iph.is_new:
            found.append(f"IPH is new: {iph.second_ml:.1f} mL, none in the first scan.")
        if self.new_ivh:
            found.append(f"Intraventricular blood is new: {ivh.second_ml:.1f} mL, none in the first scan.")
        elif ivh.first_ml > 0:
            verb = "at least" if self.ivh_grew else "less than"
            found.append(
                f"Intraventricular blood changed by {signed(ivh.change_ml, 1)} mL, growth of {verb} "
                f"{IVH_GROWTH_ML:g} mL, the line of the revised definition of expansion "
                "(Yogendrakumar et al., Stroke 2020)."
            )
        found += [
            f"{name} is {'new' if self[name].is_new else 'no longer found'}."
            for name in ("SAH", "SDH", "EDH")
            if self[name].is_new or self[name].is_gone
        ]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "subtypes": {
                name: {**asdict(change), "change_ml": change.change_ml, "change_percent": change.change_percent}
                for name, change in self.subtypes.items()
            },
            "iph_expanded": self.iph_expanded,
            "new_ivh": self.new_ivh,
            "ivh_grew": self.ivh_grew,
        }


def change_between(first: Result, second: Result) -> Change:
    """The change from one result to a later one, each measured in its own true geometry."""
    names = (*SUBTYPE_NAMES, "total")
    return Change({name: SubtypeChange(first.volume_ml[name], second.volume_ml[name]) for name in names})
