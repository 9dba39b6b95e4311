"""Figures beside their aims, for ``llm.py``."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """``met`` None: there is no aim."""

    name: str
    value: object
    aim: str = ""
    met: bool | None = None

    @property
    def shown(self) -> str:
        return f"{self.value:,.3f}" if isinstance(self.value, float) else str(self.value)


_aims: list[tuple[str, Figure]] = []


def show(title: str, figures: Sequence[Figure]) -> None:
    print(f"\n{title}")
    for each in figures:
        print(f"  {each.name:<56} {each.shown:>16}   {each.aim}{_mark(each)}", flush=True)
    _aims.extend((title, each) for each in figures if each.met is not None)


def show_aims() -> bool:
    """All figures that have an aim; whether all are met."""
    print(f"\n{'figure':<72} {'measured':>16}   {'aim':<24} met")
    for title, each in _aims:
        name = f"{title[:30]}: {each.name}"
        print(f"{name[:72]:<72} {each.shown:>16}   {each.aim:<24} {'yes' if each.met else 'NO'}")
    return all(each.met for _, each in _aims)


def _mark(figure: Figure) -> str:
    return "" if figure.met is None else "   met" if figure.met else "   NOT MET"
