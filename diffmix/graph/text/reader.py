"""The text form of graphs, read: from characters to statements, see `diffmix.graph.text`."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, NoReturn

from diffmix.errors import GraphError
from diffmix.graph.node import MOST_NODES
from diffmix.graph.text.vocabulary import NAME, UNITS

_BLANK = re.compile(r"(?:[^\S\n]|#[^\n]*)*")
_BLANKS = re.compile(r"(?:\s|#[^\n]*)*")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3}(?![0-9]))?")
_UNIT = re.compile(r":1(?![0-9.])|%|[^\W\d]+")
_INFINITE = re.compile(r"-?Infinity\b|NaN\b")
_CAME = re.compile(r"[\w.]+|\S")
_SPELT = {unit.lower(): unit for unit in UNITS}
_JSON = json.JSONDecoder(strict=False)


class Located(GraphError):
    """An error that says where in the text it is."""


class Quantity(NamedTuple):
    """A number with a unit, ``""`` if none was written."""

    at: int
    number: str
    unit: str


class Target(NamedTuple):
    """A word that may be a node, with its port and the level of a cable."""

    at: int
    name: str
    quoted: bool
    port: str | None = None
    level: Quantity | None = None


class Given(NamedTuple):
    """One thing between an effect's brackets; ``limits`` are "lock", two quantities, or None."""

    at: int
    key: str | None
    value: Quantity | Target | list[Any] | None  # a list holds one JSON value
    limits: Literal["lock"] | tuple[Quantity, Quantity] | None = None


@dataclass
class Item:
    """One station of a chain."""

    at: int
    word: str
    quoted: bool = False
    port: str | None = None
    given: list[Given] | None = None
    name: str | None = None
    new: bool = False


class Statement(NamedTuple):
    """A chain and what its end is sent to."""

    label: str | None
    items: list[Item]
    arrow: str
    sends: list[Target]


class Source:
    """A text in which errors have a place."""

    def __init__(self, text: str) -> None:
        self.text = text

    def fail(self, at: int, what: str) -> NoReturn:
        """Raise GraphError with line and column."""
        line = self.text.count("\n", 0, at) + 1
        raise Located(f"line {line}, column {at - self.text.rfind(chr(10), 0, at)}: {what}")


class Reader(Source):
    """Text to statements. Reads every character once, and calls itself never."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.at = 0
        self.made = 0

    def _expected(self, what: str) -> NoReturn:
        came = _CAME.match(self.text, self.at)
        if self.text[self.at : self.at + 1] == "\n":
            self.fail(self.at, f"{what} is expected, but the line ends")
        self.fail(self.at, f"{what} is expected, got {came[0][:40]!r}" if came else f"{what} is expected, got no more")

    def _blanks(self, lines: bool = False) -> None:
        found = (_BLANKS if lines else _BLANK).match(self.text, self.at)
        assert found
        self.at = found.end()

    def _sees(self, sign: str) -> bool:
        return self.text.startswith(sign, self.at)

    def _takes(self, sign: str, lines: bool = False) -> bool:
        """Step over a sign, and the blanks behind it."""
        if not self._sees(sign):
            return False
        self.at += len(sign)
        self._blanks(lines)
        return True

    def _needs(self, sign: str, lines: bool = False) -> None:
        if not self._takes(sign, lines):
            self._expected(repr(sign))

    def _json(self) -> Any:
        try:
            value, self.at = _JSON.raw_decode(self.text, self.at)
        except RecursionError:
            self.fail(self.at, "this value is nested too deep")
        except ValueError as error:
            self.fail(getattr(error, "pos", self.at), "this is no JSON value: " + getattr(error, "msg", str(error)))
        return value

    def _word(self, what: str) -> tuple[str, bool]:
        """A name and whether it is quoted."""
        if self._sees('"'):
            return self._json(), True
        found = NAME.match(self.text, self.at)
        if not found:
            self._expected(what)
        self.at = found.end()
        return found[0], False

    def _quantity(self) -> Quantity | None:
        found = _NUMBER.match(self.text, self.at)
        if not found:
            return None
        at, self.at = self.at, found.end()
        unit = _UNIT.match(self.text, self.at)
        if not unit:
            return Quantity(at, found[0], "")
        if unit[0].lower() not in _SPELT:
            self.fail(self.at, f"there is no unit {unit[0][:40]!r}; there are {', '.join(filter(None, UNITS))}")
        self.at = unit.end()
        return Quantity(at, found[0], _SPELT[unit[0].lower()])

    def _a_quantity(self) -> Quantity:
        return self._quantity() or self._expected("a number")

    def _port(self) -> str | None:
        """``:port`` straight behind a name."""
        if not self._sees(":"):
            return None
        self.at += 1
        return self._word("a port")[0]

    def _target(self) -> Target:
        at = self.at
        name, quoted = self._word("a node")
        port, level = self._port(), None
        if self._takes("(", lines=True):
            level = self._a_quantity()
            self._blanks(lines=True)
            self._needs(")")
        return Target(at, name, quoted, port, level)

    def _limits(self) -> Literal["lock"] | tuple[Quantity, Quantity] | None:
        if self._takes("!", lines=True):
            return "lock"
        if not self._takes("[", lines=True):
            return None
        low = self._a_quantity()
        self._blanks(lines=True)
        self._needs("..", lines=True)
        high = self._a_quantity()
        self._blanks(lines=True)
        self._needs("]", lines=True)
        return low, high

    def _value(self) -> Quantity | Target | list[Any]:
        if _INFINITE.match(self.text, self.at) or self._sees("[") or self._sees("{"):
            return [self._json()]
        return self._quantity() or self._target()

    def _given(self) -> Given:
        at, found = self.at, self._quantity()
        if found:
            return Given(at, None, found, self._limits())
        key, quoted = self._word("a value or a knob")
        end = self.at
        self._blanks(lines=True)
        if not quoted and (self._sees("[") or self._sees("!")):
            return Given(at, key, None, self._limits())
        if quoted or not self._sees("="):
            self.at = end
            return Given(at, None, Target(at, key, quoted))
        self._needs("=", lines=True)
        value = self._value()
        self._blanks(lines=True)
        return Given(at, key, value, self._limits() if isinstance(value, Quantity) else None)

    def _brackets(self) -> list[Given] | None:
        if not self._takes("(", lines=True):
            return None
        found: list[Given] = []
        if not self._sees(")"):
            found.append(self._given())
            self._blanks(lines=True)
            while self._takes(",", lines=True):
                found.append(self._given())
                self._blanks(lines=True)
        if not self._sees(")"):
            self._expected("',' or ')'")
        self._takes(")")
        return found

    def _item(self) -> Item:
        at = self.at
        word, quoted = self._word("an effect or a node")
        port = self._port()
        self._blanks()
        if port is None and self._takes("="):
            effect = self.at
            kind = self._word("an effect")[0]
            self._blanks()
            return Item(effect, kind, given=self._brackets() or [], name=word, new=True)
        given = None if quoted or port else self._brackets()
        self._blanks()
        return Item(at, word, quoted, port, given)

    def _label(self) -> str | None:
        at = self.at
        if self._sees('"') or NAME.match(self.text, at):
            name, _ = self._word("a name")
            if self._sees(":") and (self.at + 1 == len(self.text) or self.text[self.at + 1] in " \t\r\n#"):
                self._takes(":")
                return name
        self.at = at
        return None

    def statements(self) -> Iterator[Statement]:
        """All statements of the text. Raises GraphError where it cannot be read."""
        while True:
            self._blanks(lines=True)
            while self._takes(";", lines=True):
                pass
            if self.at == len(self.text):
                return
            label, items, sends = self._label(), [self._item()], []
            while self._takes(">", lines=True):
                items.append(self._item())
            self.made += len(items)
            if self.made > 10 * MOST_NODES:
                self.fail(self.at, f"this is too much: a graph holds at most {MOST_NODES} nodes")
            arrow = next((sign for sign in ("->", "~>") if self._takes(sign, lines=True)), "")
            if arrow:
                sends.append(self._target())
                self._blanks()
                while self._takes(",", lines=True):
                    sends.append(self._target())
                    self._blanks()
            if not (self.at == len(self.text) or self._sees("\n") or self._sees(";")):
                self._expected("',' or the statement's end" if arrow else "'>', '->', '~>' or the statement's end")
            yield Statement(label, items, arrow, sends)
