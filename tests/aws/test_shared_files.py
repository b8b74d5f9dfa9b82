"""The shared files' dialect: against botocore's loader, and every fault with file and line."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import botocore.configloader
import botocore.session
import pytest
from botocore.exceptions import ConfigParseError
from hypothesis import given
from hypothesis import strategies as st

from aiosmrt._aws.shared_files import SharedFile, SharedFiles, locate
from aiosmrt.errors import ConfigurationError

CONFIG = """\
# the account of the team
[default]
region = eu-west-1
S3_Setting: colon ; not a comment

[profile dev]
region=us-east-1
services = lab
role_arn = arn:aws:iam::123456789012:role/dev
empty =

[profile "two words"]
region = ap-south-1

[profile default]
region = eu-north-1

[profile three words here]
region = nowhere

[profile 'unclosed]
region = nowhere

[sso-session corp]
sso_region = eu-west-1

[services lab]
; a block
sagemaker_runtime =
  endpoint_url = http://localhost:8080
  other = a = b
s3 =
    endpoint_url = http://localhost:9000

[plain]
region = nowhere
"""
CREDENTIALS = """\
[default]
aws_access_key_id = AKIDDEFAULT
aws_secret_access_key = secret/default+=

[dev]
region = from-the-credentials-file
aws_access_key_id = AKIDDEV
aws_secret_access_key = secret/dev

[only-here]
aws_access_key_id = AKIDONLY
"""


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config").write_text(CONFIG)
    (tmp_path / "credentials").write_text(CREDENTIALS)
    return {name: str(tmp_path / name) for name in ("config", "credentials")}


@pytest.fixture
def botocores(paths, monkeypatch) -> botocore.session.Session:
    monkeypatch.setenv("AWS_CONFIG_FILE", paths["config"])
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", paths["credentials"])
    return botocore.session.Session()


def test_sections_are_those_of_botocore(paths):
    for path in paths.values():
        assert SharedFile.load(path).sections == botocore.configloader.raw_config_parse(path)


def test_profiles_are_those_of_botocore(paths, botocores):
    files = SharedFiles.load(**paths)
    profiles = botocores.full_config["profiles"]
    assert files.profile_names() == sorted(profiles)
    for name in [*profiles, "plain", "three", "nowhere"]:
        assert files.profile(name) == profiles.get(name)


def test_the_later_of_two_default_profiles_counts(paths):
    assert SharedFiles.load(**paths).profile("default")["region"] == "eu-north-1"


def test_services_are_those_of_botocore(paths, botocores):
    _, section = SharedFiles.load(**paths).config_section("services", "lab")
    assert section == botocores.full_config["services"]["lab"]
    assert section["sagemaker_runtime"] == {
        "endpoint_url": "http://localhost:8080",
        "other": "a = b",
    }


@pytest.mark.parametrize("name", ["absent", ".", "config/below-a-file", "x" * 5000])
def test_a_file_that_is_not_there_has_no_sections(paths, name):
    path = str(Path(paths["config"]).parent / name)
    assert SharedFile.load(path) == SharedFile(path=path, exists=False, sections={})


# A line of INI, good and bad, with what its dialect stumbles over.
LINES = st.sampled_from(
    [
        "[default]",
        "[profile a]",
        '[profile "a b"]',
        "[profile  a ]",
        "[a]",
        "[profilea]",
        "[DEFAULT]",
        "[services x]",
        "key = value",
        "key: value",
        "KEY=other",
        "key2 =",
        "  nested = 1",
        "  nested no equals",
        "\tnested:2",
        "# comment",
        "  ; comment",
        "bare",
        "= no key",
        "[unclosed",
        "[]",
        "key3 = [not a section]",
        "",
        "   ",
        "schlüssel = wört",
    ]
)


@given(st.lists(LINES, max_size=12), st.sampled_from(["\n", "\r\n"]))
def test_any_file_is_parsed_as_botocore_parses_it_or_refused_as_it_refuses(
    tmp_path_factory, lines, newline
):
    path = tmp_path_factory.mktemp("ini") / "config"
    path.write_text(newline.join(lines), "utf-8", newline="")
    try:
        expected = botocore.configloader.raw_config_parse(str(path))
    except ConfigParseError:
        with pytest.raises(ConfigurationError, match=f"{path}, line [0-9]+: "):
            SharedFile.load(str(path))
    else:
        assert SharedFile.load(str(path)).sections == expected


@pytest.mark.parametrize(
    "text, line, what",
    [
        ("[a]\nx = 1\n\n[a]\n", 4, r"the section \[a\] is there a second time"),
        ("[a]\nx = 1\nX = s3cr3t\n", 3, r"\[a\] has the key x a second time"),
        ("# fine\ns3cr3t = 1\n", 2, r"the line stands before the first \[section\]"),
        ("[a]\nx = 1\ns3cr3t\n", 3, r"the line is no \[section\]"),
        ("[b]\nx = 1\n[a]\nx =\n  y = 1\n  s3cr3t\n", 6, "a line of the block x in .* has no '='"),
        ("[a]\r\nx = 1\r\ns3cr3t\r\n", 3, r"the line is no \[section\]"),
    ],
)
def test_a_fault_is_named_with_its_line_and_without_its_text(tmp_path, text, line, what):
    path = tmp_path / "config"
    path.write_text(text, newline="")
    with pytest.raises(ConfigurationError, match=f"^{path}, line {line}: {what}") as caught:
        SharedFile.load(str(path))
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__context__ is None  # nothing behind it that quotes the line


def test_text_that_is_not_utf8_is_named_with_its_line(tmp_path):
    path = tmp_path / "credentials"
    path.write_bytes(b"[default]\naws_secret_access_key = s3cr3t\xff\n")
    with pytest.raises(
        ConfigurationError, match=f"^{path}, line 2: the text is not UTF-8"
    ) as error:
        SharedFile.load(str(path))
    assert error.value.__context__ is None


def unreadable(tmp_path: Path) -> str:
    path = tmp_path / "config"
    path.write_text("[default]\n")
    path.chmod(0)
    # Root may read anything; this file refuses even root, at its first byte.
    return "/proc/self/mem" if os.access(path, os.R_OK) else str(path)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    path = unreadable(tmp_path)
    with pytest.raises(ConfigurationError, match=f"^{path}: the file cannot be read"):
        SharedFile.load(path)


def test_a_keys_place_is_its_file_and_line(paths):
    files = SharedFiles.load(**paths)
    config, credentials = paths["config"], paths["credentials"]
    for profile, key, place in [
        ("dev", "services", f"{config}, line 8"),
        ("dev", "region", f"{credentials}, line 6"),
        ("default", "region", f"{config}, line 16"),
        ("default", "aws_access_key_id", f"{credentials}, line 2"),
        ("only-here", "aws_access_key_id", f"{credentials}, line 11"),
    ]:
        assert locate(*files.place(profile, key)) == place
    assert locate(config, "services lab", "s3", "endpoint_url") == f"{config}, line 33"


def test_a_place_that_is_gone_is_its_file(paths):
    assert locate(paths["config"], "profile gone", "key") == paths["config"]
    Path(paths["config"]).unlink()
    assert locate(paths["config"], "profile dev", "services") == paths["config"]


def test_no_secret_shows(paths):
    files = SharedFiles.load(**paths)
    assert "secret/" not in repr(files) + repr(files.credentials.sections["dev"])
    assert repr(files.profile("only-here")) == "<Section of aws_access_key_id>"
    with pytest.raises(TypeError, match="may hold secrets"):
        pickle.dumps(files)
