"""The file: round trips, quirks of hand-written files, errors, and what is written anew."""

from __future__ import annotations

import hashlib
import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from confd.exaconf import (
    Bucket,
    BucketFs,
    Conf,
    Database,
    Document,
    ExaStorage,
    Global,
    Logging,
    Node,
    Other,
    Plugin,
    Renderer,
    Section,
    User,
    Volume,
    checksum,
    parse,
    render,
)
from confd.exaconf.text import stored_checksum
from confd.model.errors import InvalidParameter
from confd.model.secret import Secret
from confd.model.sizes import Bytes
from tests.exaconf.conftest import put
from tests.exaconf.strategies import configurations


def only(text: str) -> Section:
    """Read a file with one section."""
    (section,) = parse(text).sections.values()
    return section


class TestFullExample:
    """The example of the domain description with all kinds of sections."""

    def test_parse_of_render_is_equal(self, full: Document) -> None:
        """Nothing is lost between writing and reading."""
        again = parse(render(full.sections, full.revision))
        assert again.sections == full.sections
        assert again.revision == 16

    def test_every_line_stays(self, full: Document, full_text: str) -> None:
        """Every line of the example stands in the written file, apart from what is written another way."""
        written = render(full.sections, full.revision, "COMMIT")
        changed = {line.strip() for line in full_text.splitlines()} - {line.strip() for line in written.splitlines()}
        assert changed == {"AdditionalGroups = exasaasadm,", "LogRotationTypes = local,", "[Plugin: Plugin1]"}
        assert len(written.splitlines()) == len(full_text.splitlines())

    def test_rendering_is_stable(self, full: Document) -> None:
        """Writing what was read gives the same file."""
        written = render(full.sections, full.revision)
        assert render(parse(written).sections, full.revision) == written

    def test_types(self, full: Document) -> None:
        """Values have Python types, secrets are secrets."""
        sections = full.sections
        root, node = sections["Users : root"], sections["Node : 11"]
        assert isinstance(root, User) and isinstance(node, Node)
        assert root.passwd == Secret("$6$<salt>$<hash>")
        assert node.exposed_ports == ((8563, 8574), (2581, 2592))
        assert (node.private_ip, node.public_ip) == ("10.10.10.11", None)
        assert node.disks["disk1"].mapping == ("dev.1:/exa/data/storage",)
        volume, database = sections["EXAVolume : ArchiveVolume1"], sections["DB : DB1"]
        assert isinstance(volume, Volume) and isinstance(database, Database)
        assert (volume.size, volume.ports) == (Bytes(100 * 2**30), {"ftp": 2021})
        assert database.backups["Full_Backup"].expire_seconds == 9 * 86400
        assert database.jdbc.dir == "drivers/jdbc"

    def test_comment_of_an_empty_section_stays(self, full: Document) -> None:
        """A comment in a section without keys belongs to this section."""
        assert full.sections["Monitoring"].comments == {
            "##": ("# written by monitoring_start: broker, cluster id, SASL user and password",)
        }


class TestQuirks:
    """Forms that occur in files written by hand or by older versions."""

    @pytest.mark.parametrize("header", ["[Plugin: p]", "[Plugin:p]", "[Plugin : p]", "[ Plugin :p ]", "  [Plugin : p]"])
    def test_blanks_around_the_colon(self, header: str) -> None:
        """The blanks around the colon of a header may be missing."""
        assert only(f"{header}\nDir = d") == Plugin("p", dir="d")

    @pytest.mark.parametrize("text", ["local,", "local", " local , "])
    def test_trailing_comma(self, text: str) -> None:
        """A list of one element may carry a trailing comma."""
        assert only(f"[Logging]\nLogRotationTypes = {text}") == Logging(("local",))

    @pytest.mark.parametrize("text", ["11,12,13", "11, 12, 13", "11 ,12,13,"])
    def test_lists_with_and_without_blanks(self, text: str) -> None:
        """Lists are read with and without blanks."""
        volume = only(f"[EXAVolume:v]\nType = data\nSize = 1 GiB\nDisk = d\nNodes = {text}")
        assert isinstance(volume, Volume)
        assert volume.nodes == (11, 12, 13)
        assert volume.num_master_nodes == 3

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("yes", True),
            ("On", True),
            ("1", True),
            ("TRUE", True),
            ("no", False),
            ("off", False),
            ("0", False),
        ],
    )
    def test_booleans(self, text: str, value: bool) -> None:
        """Booleans are read in all their forms and written as True and False."""
        settings_ = only(f"[Global]\nRESTAPIEnabled = {text}")
        assert isinstance(settings_, Global)
        assert settings_.rest_api_enabled is value
        assert f"RESTAPIEnabled = {value}\n" in render({"Global": settings_}, 1)

    def test_none(self) -> None:
        """The text None and empty text are no value."""
        text = "[Global]\nStorageProxyURL = None\n[EXAStorage]\nBgRecLimit =\n"
        sections = parse(text).sections
        assert sections["Global"] == Global(storage_proxy_url=None, kept=("StorageProxyURL",))
        assert sections["EXAStorage"] == ExaStorage(bg_rec_limit=None)

    def test_windows_line_ends_and_byte_order_mark(self, full_text: str, full: Document) -> None:
        """A file that went through an editor on Windows reads the same."""
        assert parse("\ufeff" + full_text.replace("\n", "\r\n")).sections == full.sections

    def test_no_indentation_at_all(self, full_text: str, full: Document) -> None:
        """Indentation is not needed."""
        flat = re.sub("(?m)^ +", "", full_text)
        assert parse(flat).sections == full.sections

    def test_unknown_keys_and_sections_stay(self) -> None:
        """Unknown keys, subsections and sections are written as they were read."""
        text = "[SSL]\n    New = a, b\n    [[Part : x]]\n        y = 1\n        [[[Deep]]]\n            z =\n"
        written = render({**parse(text + "\n[Saas:1]\n    k = v\n").sections, "Global": Global()}, 1)
        assert "    New = a, b\n" in written
        assert "    [[Part : x]]\n        y = 1\n        [[[Deep]]]\n            z =\n" in written
        assert written.endswith("\n[Saas : 1]\n    k = v\n")

    def test_optional_key_that_stood_in_the_file_stays(self) -> None:
        """An optional key is written if it stood in the file, even with its default, and not otherwise."""
        for text in ("[DB : d]\n", "[DB : d]\nParams =\n"):
            needed = "ID = i\nVersion = 1\nMemSize = 1 GiB\nNodes = 11\nNumActiveNodes = 1\nDataVolume = v\n"
            written = render({**parse(text + needed).sections, "Global": Global()}, 1)
            assert ("    Params =\n" in written) == ("Params" in text)

    def test_old_key_names(self) -> None:
        """REVersion of versions until 8.17 is read as ImageVersion."""
        settings_ = only("[Global]\nREVersion = 7.1.0\n")
        assert isinstance(settings_, Global)
        assert settings_.image_version == "7.1.0"
        assert "REVersion" not in render({"Global": settings_}, 1)

    def test_comments_stay_where_they_are(self) -> None:
        """Comments above, behind and below keys, headers and subsections come back at their place."""
        text = (
            "# first\n\n[Global]  # beside\n    # above key\n    ClusterName = c  # behind key\n"
            "    # end of Global\n\n"
            "# above users\n[Users]\n    # above root\n    [[root]]\n        ID = 0\n        Group = root\n"
            "        LoginEnabled = True\n        # end of root\n    [[x]]\n        ID = 1\n"
            "        Group = root\n        LoginEnabled = True\n"
            "\n# above bucketfs\n[BucketFS : b]\n    [[Bucket : c]]\n        Public = True\n"
            "        # end of bucket\n    # end of bucketfs\n"
        )
        document = parse(text)
        written = render(document.sections, 0)
        for line in (line for line in text.splitlines() if "#" in line):
            assert line in written.splitlines()
        assert parse(written).sections == document.sections
        assert written.index("# end of bucket\n") < written.index("# end of bucketfs\n")

    def test_values_with_comment_signs_survive(self) -> None:
        """A value with a comment sign is quoted in the file and comes back as it was."""
        section = Plugin("p", dir="a # b")
        written = render({"Global": Global(), section.key: section}, 1)
        assert '    Dir = "a # b"\n' in written
        assert parse(written).sections[section.key] == section

    def test_a_value_cannot_add_lines(self) -> None:
        """A line end in a value does not become a line of the file."""
        section = Plugin("p", dir="x\n[Users]\n[[evil]]\nID = 0")
        written = render({"Global": Global(), section.key: section}, 1)
        assert "\n[Users]" not in written
        assert parse(written).sections[section.key] == section


@given(configurations())
@settings(max_examples=max(20, settings.default.max_examples // 5), deadline=None)
def test_any_configuration_survives_the_file(sections: dict[str, Section]) -> None:
    """What is written is read again as the same sections, for any values, names and comments."""
    text = render(sections, 7)
    document = parse(text)
    assert document.sections == sections
    assert document.checksum == checksum(text)
    assert render(document.sections, 7) == text


class TestErrors:
    """A file that cannot be read says where and what is expected."""

    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("", ["empty"]),
            ("\x00\x01", ["not a text file"]),
            ("hello world", ["line 1", "[Section]", "Key = value"]),
            ("{'a': 1}\n", ["line 1"]),
            ("a = 1\n[Global]", ["line 1", "'a'", "before any [Section]"]),
            ("[Global]\n\nSSHPort = x", ["line 3", "[Global] SSHPort", "'x'", "0 to 65535"]),
            ("[Global]\nSSHPort = 65536", ["line 2", "0 to 65535"]),
            ("[Global]\nRevision = -1", ["[Global] Revision", "whole number"]),
            ("[Global]\nEnableLoadBalancer = maybe", ["line 2", "True or False"]),
            ("[Global]\na = 1\na = 2", ["line 3", "'a'", "twice"]),
            ("[Global]\n[Global]", ["line 2", "twice"]),
            ("[Plugin : a]\n[Plugin: a]", ["[Plugin : a]", "twice"]),
            ("[Global]\n[[[a]]]", ["line 2", "depth"]),
            ("[[a]]", ["line 1", "depth"]),
            ("[Node]\nName = n", ["line 1", "[Node]", "name is missing", "[Node : <name>]"]),
            ("[Global]\n[Node : x]", ["line 2", "[Node : x]", "'x'", "whole number"]),
            ("[RemoteVolume : r]\nID = 1\nURL = u", ["line 1", "Type", "missing", "one of smb, ftp"]),
            ("[BucketFS:b]\n[[Bucket:c]]\nPublic = ?", ["line 3", "[[Bucket:c]] Public", "True or False"]),
            ("[BucketFS:b]\n[[Bucket:c]]\n[[Bucket : c]]", ["line", "own name"]),
            ("[BucketFS:b]\n[[Bucket:c]]\nName = d", ["line 3", "Name", "must be 'c'"]),
            ("[Users]\n[[u]]\nID = 1", ["line 2", "[Users] [[u]]", "Group", "missing"]),
            ("[EXAVolume : v]\nType = data\nSize = 5 apples", ["line 3", "'5 apples'", "10 GiB"]),
        ],
    )
    def test_message(self, text: str, parts: list[str]) -> None:
        """The message names line, section and key, shows the value and says what is expected."""
        with pytest.raises(InvalidParameter) as caught:
            parse(text)
        for part in parts:
            assert part in caught.value.message

    def test_syntax_error_shows_no_value(self) -> None:
        """The line that cannot be read is not shown: it may hold a password."""
        with pytest.raises(InvalidParameter) as caught:
            parse('[BucketFS : b]\nSyncKey = "topsecret\n')
        assert "topsecret" not in caught.value.message
        assert "'SyncKey'" in caught.value.message

    @given(st.text())
    @settings(deadline=None)
    def test_garbage_never_crashes(self, text: str) -> None:
        """Any text is read or refused with InvalidParameter."""
        for attempt in (text, "[Global]\n" + text, "[DB : x]\n" + text):
            try:
                parse(attempt)
            except InvalidParameter as error:
                assert error.message.startswith("EXAConf")

    @pytest.mark.parametrize("name", ["a\nb", "a\"b'c", ""])
    def test_names_that_no_file_can_hold(self, name: str) -> None:
        """A name that would break the file is refused when writing."""
        section = Other(name) if not name else Plugin(name)
        with pytest.raises(InvalidParameter, match="name in EXAConf"):
            render({"Global": Global(), "x": section}, 1)

    def test_file_without_global(self) -> None:
        """Without [Global] there is no place for the revision."""
        with pytest.raises(InvalidParameter, match="Global"):
            render({}, 1)


class TestChecksum:
    """MD5 of the file with revision and checksum masked."""

    def test_is_md5_with_placeholders(self) -> None:
        """The checksum is the one that other readers of the file compute."""
        text = "[Global]\n    Revision = 16\n    Checksum = COMMIT\n    x = 1\n"
        masked = text.replace("16", "PLACEHOLDER").replace("COMMIT", "PLACEHOLDER")
        assert checksum(text) == hashlib.md5(masked.encode(), usedforsecurity=False).hexdigest()

    def test_same_keys_elsewhere_count(self) -> None:
        """Only the keys of [Global] are masked."""
        texts = [f"[Global]\nRevision = 1\n[X]\nRevision = {n}\n" for n in (1, 2)]
        assert checksum(texts[0]) != checksum(texts[1])

    def test_stored_checksum(self, full_text: str) -> None:
        """The stored checksum is found without reading the rest."""
        assert stored_checksum(full_text) == "COMMIT"
        assert stored_checksum("[Global]\nChecksum =  # none\n[X]\nChecksum = a") is None

    def test_disabled_stays(self, full: Document, full_text: str) -> None:
        """A file whose checks are off keeps being written so."""
        document = parse(full_text.replace("COMMIT", "DISABLED"))
        written = Renderer().render(Conf(17, document.sections))
        assert "    Revision = 17\n    Checksum = DISABLED\n" in written
        assert parse(written).sections == document.sections
        assert document.sections["Global"] != full.sections["Global"]


class TestRenderer:
    """The cached way of writing."""

    def test_only_changed_sections_are_written_anew(self, conf: Conf) -> None:
        """After one change one section is written, the text is as if all were."""
        renderer = Renderer()
        renderer.render(conf)
        assert renderer.rendered == len(conf.sections)
        after = put(conf, msgspec.structs.replace(conf.databases["DB1"], port=9000))
        assert renderer.render(after) == Renderer().render(after)
        assert renderer.rendered == len(conf.sections) + 1

    def test_equal_sections_are_not_written_anew(self, conf: Conf, full_text: str) -> None:
        """Sections that were read again but did not change cost nothing."""
        renderer = Renderer()
        first = renderer.render(conf)
        assert renderer.render(Conf(conf.revision, parse(full_text).sections)) == first
        assert renderer.rendered == len(conf.sections)

    def test_added_and_removed_sections(self, conf: Conf) -> None:
        """Sections come and go at their place."""
        renderer = Renderer()
        renderer.render(conf)
        changes: dict[str, Section | None] = {f"Node : {n}": Node(n, f"n{n}") for n in (2, 100, 12)}
        after = conf.with_changes({**changes, "SSL": None, "Users : root": None}, 17)
        text = renderer.render(after)
        assert text == Renderer().render(after)
        assert re.findall(r"\[Node : (\d+)]", text) == ["2", "11", "12", "100"]
        assert renderer.render(conf) == Renderer().render(conf)

    def test_revision_and_checksum(self, conf: Conf) -> None:
        """The revision is written, the checksum fits the text and does not depend on the revision."""
        text = Renderer().render(conf)
        again = Renderer().render(Conf(99, conf.sections))
        assert text.startswith("[Global]\n    Revision = 16\n    Checksum = ")
        assert again.startswith("[Global]\n    Revision = 99\n    Checksum = ")
        assert stored_checksum(text) == stored_checksum(again) == checksum(text) == checksum(again)

    def test_order_does_not_matter(self, conf: Conf) -> None:
        """The same sections give the same file, however they are ordered."""
        backwards = Conf(conf.revision, dict(reversed(list(conf.sections.items()))))
        assert Renderer().render(backwards) == Renderer().render(conf)


def test_bucket_name_is_repeated_inside() -> None:
    """A bucket's name stands in the header and as key, as readers expect it."""
    service = only("[BucketFS : b]\n[[Bucket : c]]\n")
    assert service == BucketFs("b", buckets={"c": Bucket("c")})
    assert "        Name = c\n" in render({"Global": Global(), service.key: service}, 1)
