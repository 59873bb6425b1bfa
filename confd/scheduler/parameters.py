"""Parameters of a job: what a signature declares, and how a caller's values become it.

A parameter's type is read from the annotation of the job function. ``Annotated`` adds what a type alone
cannot say::

    size: Annotated[str, Rule(check=parse_size, form="size with unit, e.g. '10 GiB'")]

Callers are lenient by tradition (``port: '3000'``, ``version: 8.0``), so values are cast to the declared
type wherever that loses nothing.
"""

from __future__ import annotations

import base64
import re
import types
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, Literal, Union, get_args, get_origin

import msgspec

from confd.model.errors import InvalidParameter

MISSING: Final = object()

_INT = re.compile(r"[+-]?\d{1,19}\Z", re.ASCII)
_INT64: Final = 2**63
_LONGEST: Final = 10_000
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_NAMES = {str: "str", int: "int", bool: "bool", list: "list", tuple: "tuple", dict: "dict"}
_ARTICLES = {
    "str": "a text",
    "int": "a whole number",
    "bool": "True or False",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
}


class Live(StrEnum):
    """Kinds of live names that shells complete."""

    DATABASE = "databases"
    VOLUME = "volumes"
    NODE = "nodes"
    USER = "users"
    GROUP = "groups"
    JOB = "jobs"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What a value must fulfil beyond its type.

    ``check`` gets the cast value and raises ``InvalidParameter`` (or ``ValueError``) without naming the
    parameter: the registry puts the name in front. ``also`` lists texts accepted besides the type. ``description``
    says what the parameter is where a job's docstring does not: for what means the same in several jobs. ``longest`` is
    for texts, keys and elements that may have more characters than others.
    """

    minimum: int | None = None
    maximum: int | None = None
    longest: int = _LONGEST
    choices: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    form: str = ""
    check: Callable[[Any], object] | None = None
    secret: bool = False
    live: Live | None = None
    aliases: tuple[str, ...] = ()
    own: bool = False
    description: str = ""


class Parameter(msgspec.Struct, frozen=True):
    """One declared parameter."""

    name: str
    types: tuple[str, ...]
    description: str
    default: Any = MISSING
    nullable: bool = False
    rules: tuple[Rule, ...] = ()

    @property
    def mandatory(self) -> bool:
        """True when the signature gives no default."""
        return self.default is MISSING

    @property
    def secret(self) -> bool:
        """True when the value must be hidden and sealed."""
        return any(rule.secret for rule in self.rules)

    @property
    def own(self) -> bool:
        """True for a parameter that the documented job does not have."""
        return any(rule.own for rule in self.rules)

    @property
    def aliases(self) -> tuple[str, ...]:
        """Older names, accepted and not shown."""
        return tuple(alias for rule in self.rules for alias in rule.aliases)

    @property
    def live(self) -> Live | None:
        """What a shell completes here."""
        return next((rule.live for rule in self.rules if rule.live), None)

    @property
    def choices(self) -> tuple[str, ...]:
        """Closed set of allowed texts; empty when open."""
        return tuple(choice for rule in self.rules for choice in rule.choices)

    def read(self, value: Any) -> Any:
        """Give a caller's value the declared type.

        :raises InvalidParameter: names the parameter, what it got and what is allowed.
        """
        if value is None and self.nullable:
            return None
        self._obey_length(value)
        if self.rules and isinstance(value, str) and any(value in rule.also for rule in self.rules):
            return value
        typed = with_list_items(self, self._cast(value))
        # Elements first: checks of the whole rely on their types.
        for rule in self.rules:
            self._obey_items(rule, typed)
        for rule in self.rules:
            self._obey(rule, typed)
        return typed

    def _obey_length(self, value: Any) -> None:
        longest = max((rule.longest for rule in self.rules), default=_LONGEST)
        for length in map(len, _texts(value)):
            if length > longest:
                raise InvalidParameter(f"{self.name}: a text has {length} characters; allowed are {longest}")

    def _cast(self, value: Any) -> Any:
        exact = _type_name(value)
        if exact in self.types:
            return value
        for name in self.types:
            typed = _CASTS[name](value)
            if typed is not MISSING:
                return typed
        raise InvalidParameter(f"{self.name}: {self._shown(value)} is not {self._expected()}")

    def _obey(self, rule: Rule, value: Any) -> None:
        if rule.choices and value not in rule.choices:
            raise InvalidParameter(f"{self.name}: {self._shown(value)} is not one of {', '.join(rule.choices)}")
        if isinstance(value, int) and not isinstance(value, bool):
            self._obey_range(rule, value)
        if rule.check is not None:
            self._obey_check(rule.check, value)

    def _obey_range(self, rule: Rule, value: int) -> None:
        if rule.minimum is not None and value < rule.minimum:
            raise InvalidParameter(f"{self.name}: {value} is below the minimum of {rule.minimum}")
        if rule.maximum is not None and value > rule.maximum:
            raise InvalidParameter(f"{self.name}: {value} is above the maximum of {rule.maximum}")

    def _obey_items(self, rule: Rule, value: Any) -> None:
        for item in value if rule.items and isinstance(value, (list, tuple)) else ():
            if _type_name(item) not in rule.items:
                wanted = " or ".join(_ARTICLES[name] for name in rule.items)
                raise InvalidParameter(f"{self.name}: the element {self._shown(item)} is not {wanted}")

    def _obey_check(self, check: Callable[[Any], object], value: Any) -> None:
        try:
            check(value)
        except (InvalidParameter, ValueError) as error:
            raise InvalidParameter(f"{self.name}: {error}") from None

    def _expected(self) -> str:
        forms = [rule.form for rule in self.rules if rule.form]
        return forms[0] if forms else " or ".join(dict.fromkeys(_ARTICLES[name] for name in self.types))

    def _shown(self, value: Any) -> str:
        return "the value" if self.secret else _shorten(repr(value))


def types_of(annotation: Any) -> tuple[tuple[str, ...], bool, tuple[Rule, ...]]:
    """Read type names, whether None is allowed, and rules from an annotation."""
    rules: tuple[Rule, ...] = ()
    if hasattr(annotation, "__metadata__"):
        rules = tuple(item for item in annotation.__metadata__ if isinstance(item, Rule))
        annotation = annotation.__origin__
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [types_of(part) for part in get_args(annotation)]
        names = tuple(dict.fromkeys(name for part in parts for name in part[0]))
        return names, any(part[1] for part in parts), rules + tuple(r for part in parts for r in part[2])
    if annotation is type(None):
        return (), True, rules
    return _single(annotation, rules)


def _single(annotation: Any, rules: tuple[Rule, ...]) -> tuple[tuple[str, ...], bool, tuple[Rule, ...]]:
    origin = get_origin(annotation) or annotation
    if origin is Literal:
        return ("str",), False, (*rules, Rule(choices=tuple(map(str, get_args(annotation)))))
    if isinstance(origin, type) and issubclass(origin, StrEnum):
        return ("str",), False, (*rules, Rule(choices=tuple(origin)))
    inner = [item for item in get_args(annotation) if item is not Ellipsis]
    if origin in (list, tuple) and inner and inner[0] is not Any:
        names, _, inner_rules = types_of(inner[0])
        return (_NAMES[origin],), False, (*rules, Rule(items=names), *_lifted(inner_rules))
    return (_NAMES[origin],), False, rules


def _lifted(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Rules of a list's elements that say something about the list: live names, secrecy."""
    return tuple(Rule(live=rule.live, secret=rule.secret) for rule in rules if rule.live or rule.secret)


def with_list_items(parameter: Parameter, value: Any) -> Any:
    """Cast the elements of a list to what the parameter declares for them (``['11']`` -> ``[11]``)."""
    wanted = next((rule.items for rule in parameter.rules if rule.items), ())
    if not wanted or not isinstance(value, (list, tuple)):
        return value
    return [_element(item, wanted) for item in value]


def _element(item: Any, wanted: tuple[str, ...]) -> Any:
    """Cast an element, or leave it to the rule about elements, which names it in its message."""
    if _type_name(item) in wanted:
        return item
    casts = (_CASTS[name](item) for name in wanted)
    return next((typed for typed in casts if typed is not MISSING), item)


def _texts(value: Any) -> Iterator[str | bytes]:
    """Give all texts of a value: itself, keys, elements."""
    if isinstance(value, (str, bytes)):
        yield value
    elif isinstance(value, Mapping):
        for item in (*value.keys(), *value.values()):
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return "other"
    return _NAMES.get(type(value), "other")


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _to_str(value: Any) -> Any:
    if isinstance(value, bytes):
        return _text(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return MISSING
    return str(value)


def _text(raw: bytes) -> str:
    """Return what a Binary says as text; one that is no text as its base64, so that nothing is lost."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return base64.b64encode(raw).decode()


def _to_int(value: Any) -> Any:
    if not (isinstance(value, float) and value.is_integer()) and not (
        isinstance(value, str) and _INT.match(value.strip())
    ):
        return MISSING
    number = int(value)
    return number if -_INT64 <= number < _INT64 else MISSING


def _to_bool(value: Any) -> Any:
    text = str(value).strip().lower()
    if isinstance(value, (str, int)):
        return True if text in _TRUE else False if text in _FALSE else MISSING
    return MISSING


def _to_list(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, str) and value.strip():
        return [part.strip() for part in value.strip("[]() ").split(",") if part.strip()]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else MISSING


def _to_dict(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else MISSING


_CASTS: Final[dict[str, Callable[[Any], Any]]] = {
    "str": _to_str,
    "int": _to_int,
    "bool": _to_bool,
    "list": _to_list,
    "tuple": _to_list,
    "dict": _to_dict,
}
