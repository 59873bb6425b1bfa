"""The words of a ``confd_client`` command line: a job, its parameters and options."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

import msgspec

from confd.cli.flow import Unfinished, Unreadable, read_flow
from confd.cli.values import include, read_mapping, read_value

_KEY = re.compile(r"([A-Za-z_]\w*):")
_KEY_AND_VALUE = re.compile(r"([A-Za-z_]\w*):(?:[ \t]+|(?=[\"'\[{\n]))(.*)", re.DOTALL)
_NO_BLANK = re.compile(r"([A-Za-z_]\w*)[:=](?!//)(\S.*)", re.DOTALL)
_NO_BLANK_AFTER_COLON = re.compile(r"[A-Za-z_]\w*:(?!//)\S.*", re.DOTALL)
_SECOND_KEY = re.compile(r"\s([A-Za-z_]\w*):[ \t]")
_FLAGS: Final = {
    "-j": "json",
    "--json": "json",
    "-h": "help",
    "--help": "help",
    "--dry-run": "dry_run",
    "--insecure": "insecure",
}
_OPTIONS: Final = {"-c": "job", "--url": "url", "--user": "user", "--ca": "ca"}
_HELP: Final = "help"


class UsageError(Exception):
    """The command line is wrong; the message says what to write instead."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Invocation(msgspec.Struct, frozen=True):
    """What a command line asks for; ``job`` is None only when general help is wanted."""

    job: str | None
    params: dict[str, object] = {}
    json: bool = False
    dry_run: bool = False
    help: bool = False
    url: str | None = None
    user: str | None = None
    ca: str | None = None
    insecure: bool = False


def parse_words(argv: Sequence[str], read_file: Callable[[str], bytes]) -> Invocation:
    """Read a command line, without the program's name.

    The word after ``name:`` is always its value, even ``-j``; further words up to the next ``name:`` or
    option belong to it. ``-a`` only marks that parameters follow, and ``--`` that no options do.
    ``read_file`` reads ``{< PATH}``; it gets ``-`` for standard input and is asked once for each path.

    :raises UsageError: the command line is wrong, or a file cannot be read.
    """
    line = _Line(argv)
    try:
        line.read()
        read_once = cache(read_file)
        params = {name: include(value, read_once) for name, value in line.params.items()}
    except Unreadable as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"cannot read {error.filename or 'the file'}: {error.strerror or error}") from None
    return line.invocation(params)


class _Line:
    """A walk over the words that sorts them into job, options and parameters."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.params: dict[str, object] = {}
        self._words = argv
        self._at = 0
        self._flags: set[str] = set()
        self._options: dict[str, str] = {}
        self._loose: list[str] = []
        self._only_params = False
        self._only_words = False

    def read(self) -> None:
        while (word := self._next()) is not None:
            self._at += 1
            if self._is_option(word):
                self._option(word)
            elif self._only_params or "job" in self._options or _starts_parameter(word):
                self._parameter(word)
            else:
                self._options["job"] = word

    def invocation(self, params: dict[str, object]) -> Invocation:
        """Put together what the walk has found."""
        job = self._options.get("job")
        help_wanted = "help" in self._flags or job == _HELP
        if job == _HELP:
            job = self._loose.pop(0) if self._loose else None
        if self._loose:
            raise UsageError(_advice(self._loose[0]))
        if job is None and not help_wanted:
            raise UsageError("no job named; write confd_client JOB name: value ..., or confd_client --help")
        return Invocation(
            job,
            params,
            json="json" in self._flags,
            dry_run="dry_run" in self._flags,
            help=help_wanted,
            url=self._options.get("url"),
            user=self._options.get("user"),
            ca=self._options.get("ca"),
            insecure="insecure" in self._flags,
        )

    def _next(self) -> str | None:
        return self._words[self._at] if self._at < len(self._words) else None

    def _is_option(self, word: str) -> bool:
        known = word in _FLAGS or word.partition("=")[0] in _OPTIONS or word in {"-a", "--"}
        return known and not self._only_words

    def _option(self, word: str) -> None:
        name, given, value = word.partition("=")
        if word in _FLAGS:
            self._flags.add(_FLAGS[word])
        elif word == "--":
            self._only_words = True
        elif not given and self._next() is None:
            raise UsageError(f"{word} needs a value after it")
        elif word == "-a":
            self._only_params = True
        else:
            self._set_option(name, value if given else str(self._next()))
            self._at += not given

    def _set_option(self, name: str, value: str) -> None:
        field = _OPTIONS[name]
        if field in self._options:
            raise UsageError(f"{field} is given twice: {self._options[field]} and {value}")
        self._options[field] = value

    def _parameter(self, word: str) -> None:
        if key := _KEY.fullmatch(word):
            self._set(key[1], self._value(key[1]))
        elif word.lstrip().startswith("{"):
            self._set_all(read_mapping(self._joined(word)))
        elif pair := _KEY_AND_VALUE.fullmatch(word):
            self._one_word(word, pair[1], pair[2])
        elif word.startswith("-") and not self._only_words:
            known = ", ".join(sorted([*_FLAGS, *_OPTIONS, "-a"]))
            raise UsageError(f"unknown option {word}; known are {known}")
        elif word.strip():
            self._loose.append(word)

    def _set(self, key: str, value: object) -> None:
        if key in self.params:
            raise UsageError(f"parameter {key} is given twice")
        self.params[key] = value

    def _set_all(self, params: dict[str, object]) -> None:
        for key, value in params.items():
            self._set(key, value)

    def _value(self, key: str) -> object:
        """Take the words that are the value of ``key``."""
        first = self._next()
        if first is None or _KEY.fullmatch(first):
            quoted = f", or {key}: '\"{first}\"' if that is the value" if first else ""
            raise UsageError(f"{key}: has no value; write {key}: '' for empty text{quoted}")
        self._at += 1
        words = [self._joined(first)]
        while (word := self._next()) is not None and not self._ends_value(word):
            if _NO_BLANK_AFTER_COLON.fullmatch(word):
                raise UsageError(f"{_advice(word)}; a value of {key} with blanks must be quoted as one word")
            words.append(word)
            self._at += 1
        return read_value(" ".join(words))

    def _ends_value(self, word: str) -> bool:
        is_key = _KEY.fullmatch(word) or _KEY_AND_VALUE.fullmatch(word)
        return bool(is_key) or self._is_option(word)

    def _joined(self, first: str) -> str:
        """Join a collection that the shell has split at its blanks; left alone if it never closes."""
        text, end = first, self._at
        while text.lstrip()[:1] in {"[", "{"}:
            try:
                read_flow(text)
            except Unfinished:
                if end == len(self._words):
                    return first
                text, end = f"{text} {self._words[end]}", end + 1
            except Unreadable:
                return first
            else:
                break
        self._at = end
        return text

    def _one_word(self, word: str, key: str, text: str) -> None:
        """Read ``'name: value'`` that came as one word, as ``-a`` takes it."""
        if "\n" in word:
            try:
                self._set_all(read_mapping(word))
            except Unreadable:
                self._set(key, text)  # e.g. a licence text, whose lines only look like YAML
            return
        value = read_value(text)
        if value == text and (second := _SECOND_KEY.search(text)):
            braces = f"'{{{key}: ..., {second[1]}: ...}}'"
            raise UsageError(f"several parameters in one word need braces and commas: {braces}")
        if not text:
            raise UsageError(f"{key}: has no value; write {key}: '' for empty text")
        self._set(key, value)


def _starts_parameter(word: str) -> bool:
    return word.lstrip().startswith("{") or ":" in word or word.startswith("-") or not word


def _advice(word: str) -> str:
    if pair := _NO_BLANK.fullmatch(word):
        return f"{word!r}: write {pair[1]}: {pair[2]}, with a blank after the colon"
    return f"unexpected word {word!r}; parameters are written as name: value"
