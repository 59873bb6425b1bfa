"""Views of sections without secrets."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from confd.exaconf import Conf, Document, Monitoring, Section, public_view
from confd.exaconf.mapping import to_tree
from confd.exaconf.masking import mask
from confd.exaconf.tree import Tree
from confd.model.secret import Secret
from tests.exaconf.strategies import sections


def secrets_of(tree: Tree) -> set[str]:
    """Collect the secret texts of a tree that are long enough to be told from other text."""
    own = {value.reveal() for value in tree.values.values() if isinstance(value, Secret)}
    return own.union(*map(secrets_of, tree.children.values()))


def test_native_numbers_and_booleans(conf: Conf) -> None:
    """Integers and booleans are given as such, the rest as text of the file."""
    view = public_view(conf.global_)
    assert (view["NameServers"], view["XMLRPCPort"], view["RESTAPIEnabled"]) == ("8.8.8.8", 443, True)
    assert view["AuthenticationToken"] == "***"
    assert "ExaMonitorUserPassword" not in view


def test_subsections(conf: Conf) -> None:
    """Subsections stand below their headers."""
    view = public_view(conf.databases["DB1"])
    assert view["JDBC"]["Dir"] == "drivers/jdbc"
    assert view["Backup : Full_Backup"]["Level"] == 0
    assert view["MemSize"] == "2 GiB"
    bucket = public_view(conf.bucketfs["bfsdefault"])["Bucket : default"]
    assert (bucket["ReadPasswd"], bucket["Public"]) == ("***", True)


def test_all_secrets_of_the_example(full: Document) -> None:
    """Neither the views nor the printed sections of the example show a secret."""
    shown = json.dumps([public_view(section) for section in full.sections.values()]) + repr(full)
    for secret in ("$6$<salt>", "base64 of 16", "MTIzNDU2Nzg5QUJDREVG", "eEZXNmtq", "cmVhZA==", "d3JpdGU="):
        assert secret not in shown


@given(sections())
@settings(max_examples=60, deadline=None)
def test_secrets_never_show(section: Section) -> None:
    """A secret shows neither in the view nor in the printed section, whatever its key."""
    marked = _mark(to_tree(section))
    shown = json.dumps(_texts(marked))
    assert "topsecret" not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("-a=1 -ldapPassword=abc -b=2", "-a=1 -ldapPassword=*** -b=2"),
        ("verbose,delegation_token=abc,timeout=1", "verbose,delegation_token=***,timeout=1"),
        ("s3_secret_key=x", "s3_secret_key=***"),
        ("https://me:pw@host:80/x", "https://me:***@host:80/x"),
        ("https://host:80/x@y", "https://host:80/x@y"),
        ("# Passwd = abc", "# Passwd = ***"),
        ("-useIndexWrapper=0", "-useIndexWrapper=0"),
    ],
)
def test_secrets_inside_text(text: str, shown: str) -> None:
    """Secrets inside options, parameters and URLs are masked too."""
    assert mask(text) == shown


SIMPLE = re.compile(r"([\w-]*(?:passw(?:or)?d?|secret|token|access_key)[\w-]*\s*=\s*)[^\s,]+", re.IGNORECASE)
PIECES = st.sampled_from(
    ["passw", "PASSWORD", "token", "Secret", "access_key", "a", "-", "_", "=", " ", ",", "?", "\n", "ſ"]
)


@given(st.lists(PIECES, max_size=14).map("".join))
@settings(max_examples=500, deadline=None)
def test_secrets_are_found_as_the_simple_pattern_finds_them(text: str) -> None:
    """The pattern that takes its time from the length alone masks what the plain one, which is slow, masks."""
    assert mask(text) == SIMPLE.sub(r"\g<1>***", text)


@pytest.mark.parametrize(
    "part", ["x", "-", "passw", "token", "token=", "=", "a=", "a =", " ", "token ", "://", "://a:", ":", "//:"]
)
def test_masking_takes_time_by_the_length_only(part: str) -> None:
    """A pattern that goes back over what it has seen would never end with these."""
    text = part * (200_000 // len(part))
    assert len(mask(text)) <= len(text) + 3 * text.count("=")
    assert mask(f"{text} token=hidden").endswith("token=***")


def test_empty_secret_is_shown_as_empty() -> None:
    """Whether a secret is set at all may be seen."""
    assert mask(Secret("")) == ""
    monitoring = Monitoring(sasl_password=Secret("x"))
    assert public_view(monitoring) == {"SaslPassword": "***"}


def _mark(tree: Tree) -> Tree:
    values = {key: Secret("topsecret") if isinstance(value, Secret) else value for key, value in tree.values.items()}
    return Tree(values, {name: _mark(child) for name, child in tree.children.items()})


def _texts(tree: Tree) -> dict[str, object]:
    return {key: mask(value) for key, value in tree.values.items()} | {
        name: [_texts(child), repr(child)] for name, child in tree.children.items()
    }
