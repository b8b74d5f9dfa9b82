"""Settings: each one's order, against botocore where botocore has it, and every refusal."""

from __future__ import annotations

import logging
import pickle
import warnings
from pathlib import Path

import attrs
import boto3
import botocore.session
import pytest
from botocore.configprovider import ConfiguredEndpointProvider
from hypothesis import given
from hypothesis import strategies as st

from aiosmrt._aws.config import resolve_config
from aiosmrt._aws.endpoints import check_endpoint_url
from aiosmrt._aws.retries import RetryPolicy
from aiosmrt.errors import ConfigurationError

REGION = {"AWS_REGION": "eu-west-1"}


@pytest.fixture
def files(tmp_path: Path):
    """Writes the two files and returns the environment that names them."""

    def write(config: str = "", credentials: str = "", **environ: str) -> dict[str, str]:
        (tmp_path / "config").write_text(config)
        (tmp_path / "credentials").write_text(credentials)
        return {
            "AWS_CONFIG_FILE": str(tmp_path / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
            **environ,
        }

    return write


def test_without_anything_but_a_region_the_defaults_hold(files):
    environ = files(**REGION)
    config = resolve_config(environ=environ)
    assert config.region == "eu-west-1"
    assert config.endpoint_url == "https://runtime.sagemaker.eu-west-1.amazonaws.com"
    assert config.profile == "default"
    assert config.retries == RetryPolicy()
    for name in ("s3_endpoint_url", "ca_bundle", "user_agent_app_id"):
        assert getattr(config, name) is None
    for name in ("profile_is_argument", "use_fips", "use_dualstack"):
        assert getattr(config, name) is False
    assert {name: str(source) for name, source in config.sources.items()} == {
        "region": "AWS_REGION"
    }


def test_the_files_are_looked_for_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text("[default]\nregion = eu-west-3\n")
    config = resolve_config(environ={})
    assert config.region == "eu-west-3"
    assert config.config_file == str(tmp_path / ".aws/config")
    assert config.credentials_file == str(tmp_path / ".aws/credentials")


def test_paths_are_expanded_as_botocore_expands_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WHERE", "deep")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/config").write_text("[default]\nregion = eu-west-3\n")
    assert resolve_config(environ={"AWS_CONFIG_FILE": "~/$WHERE/config"}).region == "eu-west-3"


# ── the order: each list from what counts most to what counts least ──────────────────────────


def assert_order(files, *, argument, variables, key, last, attribute):
    """Takes the sources of a setting away one by one; each must be found in its turn."""
    environ = files(f"[default]\n{key} = {last}\n", **{"AWS_REGION": "us-east-1"} | variables)

    def found(**given):
        config = resolve_config(**given, environ=environ)
        assert attribute in config.sources
        return str(getattr(config, attribute)).lower()

    assert found(**{attribute: argument}) == str(argument).lower()
    for variable, value in variables.items():
        assert found() == value.lower()
        environ[variable] = ""  # set but empty is not set
    assert found() == last


def test_the_order_of_region(files):
    assert_order(
        files,
        attribute="region",
        argument="eu-west-1",
        variables={"AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "eu-west-3"},
        key="region",
        last="eu-north-1",
    )


@pytest.mark.parametrize("name", ["fips", "dualstack"])
def test_the_order_of_the_switches(files, name):
    assert_order(
        files,
        attribute=f"use_{name}",
        argument=False,
        variables={f"AWS_USE_{name.upper()}_ENDPOINT": "TRUE"},
        key=f"use_{name}_endpoint",
        last="false",
    )


@pytest.mark.parametrize(
    "attribute, service", [("endpoint_url", "SAGEMAKER_RUNTIME"), ("s3_endpoint_url", "S3")]
)
def test_the_order_of_endpoint_urls(files, attribute, service):
    assert_order(
        files,
        attribute=attribute,
        argument="http://localhost:1",
        variables={
            f"AWS_ENDPOINT_URL_{service}": "http://localhost:2",
            "AWS_ENDPOINT_URL": "http://localhost:3",
        },
        key="endpoint_url",
        last="http://localhost:5",
    )
    environ = files(
        "[default]\nendpoint_url = http://localhost:5\nservices = lab\n"
        f"[services lab]\n{service.lower()} =\n  endpoint_url = http://localhost:4\n",
        **REGION,
    )
    assert getattr(resolve_config(environ=environ), attribute) == "http://localhost:4"


# Its models take most of a botocore session's time, and are the same for all.
LOADER = botocore.session.Session().get_component("data_loader")


@given(st.sets(st.sampled_from(["service", "global", "services", "profile", "ignore", "no"])))
def test_the_endpoint_url_is_the_one_botocore_finds(tmp_path_factory, settings):
    folder = tmp_path_factory.mktemp("aws")
    lines = ["[default]", "region = eu-west-1"]
    lines += ["endpoint_url = http://localhost:4"] * ("profile" in settings)
    lines += ["services = lab"] * ("services" in settings)
    lines += ["[services lab]", "sagemaker_runtime =", "  endpoint_url = http://localhost:3"]
    (folder / "config").write_text("\n".join(lines))
    environ = {"AWS_CONFIG_FILE": str(folder / "config"), "AWS_SHARED_CREDENTIALS_FILE": "/-"}
    if "service" in settings:
        environ["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] = "http://localhost:1"
    if "global" in settings:
        environ["AWS_ENDPOINT_URL"] = "http://localhost:2"
    if {"ignore", "no"} & settings:
        value = "true" if "ignore" in settings else "false"
        environ["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] = value
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        session = botocore.session.Session()
        session.register_component("data_loader", LOADER)
        client = session.create_client(
            "sagemaker-runtime", aws_access_key_id="id", aws_secret_access_key="secret"
        )
    assert resolve_config(environ=environ).endpoint_url == client.meta.endpoint_url


def test_the_services_section_is_read_as_botocore_reads_it(files, monkeypatch):
    environ = files(
        "[profile x]\nservices = lab\n[services lab]\nsagemaker =\n endpoint_url = http://a:1\n"
        "sagemaker_runtime =\n endpoint_url = http://a:2\n endpoint_url2 = http://a:3\n",
        "[x]\nendpoint_url = http://a:4\n",
    )
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    session = botocore.session.Session(profile="x")
    theirs = ConfiguredEndpointProvider(
        session.full_config, session.get_scoped_config(), "sagemaker-runtime", environ={}
    ).provide()
    config = resolve_config(profile="x", environ={**environ, **REGION})
    assert config.endpoint_url == theirs == "http://a:2"
    assert config.s3_endpoint_url == "http://a:4"


def test_configured_endpoint_urls_can_be_ignored_by_environment_and_profile(files):
    configured = {"AWS_ENDPOINT_URL": "http://localhost:1", **REGION}
    for environ in (
        files(AWS_IGNORE_CONFIGURED_ENDPOINT_URLS="true", **configured),
        files("[default]\nignore_configured_endpoint_urls = true\n", **configured),
    ):
        config = resolve_config(environ=environ)
        assert config.endpoint_url == "https://runtime.sagemaker.eu-west-1.amazonaws.com"
        assert config.s3_endpoint_url is None
        own = resolve_config(endpoint_url="http://localhost:2", environ=environ)
        assert own.endpoint_url == "http://localhost:2"


def test_the_profile_is_the_one_botocore_takes(files, monkeypatch):
    text = "".join(f"[profile {name}]\nregion = eu-{name}-1\n" for name in ("a", "b", "c"))
    environ = files(text + "[default]\nregion = eu-default-1\n")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    order = [(None, {"AWS_DEFAULT_PROFILE": "b", "AWS_PROFILE": "c"}, "b"), (None, {}, "default")]
    order += [(None, {"AWS_PROFILE": "c"}, "c"), ("a", {"AWS_DEFAULT_PROFILE": "b"}, "a")]
    for argument, variables, expected in order:
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            session = boto3.Session(profile_name=argument)
            theirs = session.profile_name, session.region_name
        config = resolve_config(profile=argument, environ={**environ, **variables})
        assert (config.profile, config.region) == theirs == (expected, f"eu-{expected}-1")
        assert config.profile_is_argument is (argument is not None)


def test_the_rest_comes_from_environment_or_profile(files):
    profile = "[default]\nca_bundle = /p.pem\nsdk_ua_app_id = p\nmax_attempts = 7\n"
    profile += "retry_mode = adaptive\n"
    config = resolve_config(environ=files(profile, **REGION))
    assert (config.ca_bundle, config.user_agent_app_id) == ("/p.pem", "p")
    assert config.retries == RetryPolicy(max_attempts=7, mode="adaptive")
    variables = {
        "AWS_CA_BUNDLE": "/e.pem",
        "AWS_SDK_UA_APP_ID": "e",
        "AWS_MAX_ATTEMPTS": "2",
        "AWS_RETRY_MODE": "standard",
    }
    config = resolve_config(environ=files(profile, **REGION, **variables))
    assert (config.ca_bundle, config.user_agent_app_id) == ("/e.pem", "e")
    assert config.retries == RetryPolicy(max_attempts=2, mode="standard")


def test_a_given_retry_policy_leaves_the_others_unread(files):
    policy = RetryPolicy(max_attempts=1)
    environ = files("[default]\nretry_mode = nonsense\n", AWS_MAX_ATTEMPTS="x", **REGION)
    assert resolve_config(retries=policy, environ=environ).retries is policy


def test_an_application_id_is_cut_to_what_aws_takes(files, caplog):
    fine = "a" * 50
    with caplog.at_level(logging.WARNING, "aiosmrt.config"):
        config = resolve_config(environ=files(AWS_SDK_UA_APP_ID=fine, **REGION))
        assert config.user_agent_app_id == fine
        assert not caplog.records
        config = resolve_config(environ=files(AWS_SDK_UA_APP_ID=f"{fine}b", **REGION))
    assert config.user_agent_app_id == fine
    assert "AWS_SDK_UA_APP_ID: an application id has at most 50 characters" in caplog.text


# ── refusals ─────────────────────────────────────────────────────────────────────────────────


def refusal(**settings) -> str:
    with pytest.raises(ConfigurationError) as caught:
        resolve_config(**settings)
    return str(caught.value)


def test_a_missing_region_says_where_it_was_looked_for(files):
    environ = files("[default]\noutput = json\n")
    Path(environ["AWS_SHARED_CREDENTIALS_FILE"]).unlink()
    text = refusal(environ=environ)
    places = ["argument region", "AWS_REGION", "AWS_DEFAULT_REGION", "profile 'default'"]
    places += [environ["AWS_CONFIG_FILE"], environ["AWS_SHARED_CREDENTIALS_FILE"] + " (not there)"]
    assert all(place in text for place in places)
    assert "Pass region=" in text


def test_a_region_that_is_none_is_named_with_its_place(files):
    environ = files("[default]\noutput = json\nregion = us_east_1\n")
    assert f"{environ['AWS_CONFIG_FILE']}, line 3: The region 'us_east_1'" in refusal(
        environ=environ
    )
    assert "the argument region: " in refusal(region="eu-west-1.example", environ=environ)
    own = refusal(region="a/b", endpoint_url="http://localhost:1", environ=environ)
    assert "the argument region: " in own


@pytest.mark.parametrize("by", ["argument", "AWS_PROFILE"])
def test_a_profile_that_is_not_there_is_named_with_those_that_are(files, by):
    environ = files("[default]\n[profile dev]\n", "[test]\n", **REGION)
    if by == "argument":
        text = refusal(profile="prod", environ=environ)
    else:
        text = refusal(environ={**environ, by: "prod"})
    assert "The profile 'prod'" in text
    assert by in text
    assert "Profiles found: default, dev, test" in text
    assert environ["AWS_CONFIG_FILE"] in text
    assert environ["AWS_SHARED_CREDENTIALS_FILE"] in text


def test_of_many_profiles_the_first_are_named(files):
    environ = files("".join(f"[profile p{n:03}]\n" for n in range(50)), **REGION)
    assert "p018, p019 and 30 more." in refusal(profile="prod", environ=environ)


def test_without_any_profile_none_is_found(files):
    assert "Profiles found: none." in refusal(profile="prod", environ=files(**REGION))


def test_a_profiles_section_without_its_word_is_pointed_out(files):
    environ = files("[default]\n\n[prod]\nregion = eu-west-1\n")
    text = refusal(profile="prod", environ=environ)
    assert f"must be [profile prod]: {environ['AWS_CONFIG_FILE']}, line 3" in text


def test_the_default_profile_need_not_be_there_unless_it_is_named(files):
    environ = files(**REGION)
    assert resolve_config(environ=environ).profile == "default"
    assert "The profile 'default'" in refusal(profile="default", environ=environ)


@pytest.mark.parametrize(
    "line, what",
    [
        ("use_fips_endpoint = yes", "'yes' is neither true nor false"),
        ("use_dualstack_endpoint = 1", "'1' is neither true nor false"),
        ("ignore_configured_endpoint_urls = on", "'on' is neither true nor false"),
        ("endpoint_url = localhost:8080", "does not begin with http:// or https://"),
        ("endpoint_url =\n  x = y", "endpoint_url is a block of keys, not a value"),
        ("region =\n  x = y", "region is a block of keys, not a value"),
        ("services = nowhere", "there is no section [services nowhere]"),
        ("max_attempts = many", "must be a whole number of at least 1"),
        ("max_attempts = 0", "must be a whole number of at least 1"),
        ("retry_mode = eager", "must be standard, adaptive or legacy"),
    ],
)
def test_what_is_wrong_in_a_profile_is_named_with_its_file_and_line(files, line, what):
    environ = files(f"[default]\noutput = json\n{line}\n")
    if not line.startswith("region"):
        environ |= REGION
    text = refusal(environ=environ)
    assert f"{environ['AWS_CONFIG_FILE']}, line 3" in text
    assert what in text


def test_a_service_without_a_block_is_named_with_its_line(files):
    url = "http://localhost:1"
    environ = files(
        f"[default]\nservices = lab\n[services lab]\nsagemaker_runtime = {url}\n", **REGION
    )
    assert f"{environ['AWS_CONFIG_FILE']}, line 4: sagemaker_runtime must be" in refusal(
        environ=environ
    )


def test_a_file_that_makes_no_sense_is_named(files):
    environ = files("[default\n", **REGION)
    assert f"{environ['AWS_CONFIG_FILE']}, line 1: " in refusal(environ=environ)


@pytest.mark.parametrize("variable", ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"])
def test_a_switch_that_is_none_is_not_quietly_off(files, variable):
    assert f"{variable}: 'enabled' is neither" in refusal(
        environ=files(**REGION, **{variable: "enabled"})
    )


@pytest.mark.parametrize("flag", ["use_fips", "use_dualstack"])
@pytest.mark.parametrize("url", ["endpoint_url", "s3_endpoint_url"])
def test_a_url_of_ones_own_contradicts_fips_and_dualstack(files, flag, url):
    text = refusal(**{flag: True, url: "http://localhost:1"}, environ=files(**REGION))
    assert f"(the argument {flag}), but {url} is set (the argument {url})" in text


@pytest.mark.parametrize(
    "name, value",
    [("region", 5), ("endpoint_url", b"http://a"), ("profile", Path("a")), ("use_fips", "true")],
)
def test_an_argument_of_the_wrong_type_is_named(files, name, value):
    text = refusal(**{name: value}, environ=files(**REGION))
    assert f"The argument {name} must be" in text
    assert type(value).__name__ in text


# ── endpoint URLs ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url, checked",
    [
        ("http://localhost:8080", "http://localhost:8080"),
        ("https://example.com/", "https://example.com"),
        ("https://gateway.example.com/sagemaker/", "https://gateway.example.com/sagemaker"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("http://my_container:8787", "http://my_container:8787"),
        ("HTTPS://Example.COM", "HTTPS://Example.COM"),
    ],
)
def test_an_endpoint_url_that_is_one(url, checked):
    assert check_endpoint_url(url) == checked


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "localhost:8080",
        "//localhost",
        "/path",
        "http:",
        "http://",
        "http:///path",
        "http://:8080",
        "ftp://example.com",
        "http://example.com:port",
        "http://example.com:70000",
        "http://example.com:0",
        "http://[::1",
        "http://[not-an-address]",
        "http://[127.0.0.1x]:80",
        "http://[::1]x:80",
        "http://[zz::1]",
        "http://[v1.x]:80",  # an address of another kind: Python takes it (RFC 3986, 3.2.2)
        "http://exa mple.com",
        "http://example.com\n",
        "http://exam\tple.com",
        "http://example.com\r\nX: y",
        "http://münchen.example",
        "http://ex%41mple.com",
        "http://example.com?token=s3cr3t",
        "http://example.com/#s3cr3t",
        "http://example.com?",
        "http://user:s3cr3t@example.com",
        "user:s3cr3t@example.com",
        "http://s3cr3t@example.com:x",
        "http://@example.com",
    ],
)
def test_an_endpoint_url_that_is_none_is_refused_without_its_secrets(files, url):
    text = refusal(endpoint_url=url, environ=files(**REGION))
    assert text.startswith("the argument endpoint_url: The endpoint URL '")
    assert "s3cr3t" not in text


@pytest.mark.parametrize(
    "host", ["example.com", "runtime.sagemaker.eu-west-1.amazonaws.com", "8.8.8.8", "[2001:4860::]"]
)
def test_clear_text_to_a_public_host_in_a_real_region_warns(files, host):
    with pytest.warns(RuntimeWarning, match="is not encrypted") as warned:
        resolve_config(endpoint_url=f"http://{host}:8080/x", environ=files(**REGION))
    assert len(warned) == 1
    assert f"http://{host}:8080" in str(warned[0].message)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "127.0.0.1",
        "127.8.8.8",
        "[::1]",
        "[fe80::1]",
        "10.1.2.3",
        "192.168.0.9",
        "0.0.0.0",
        "model",
        "my_container",
        "sagemaker.localhost",
        "host.docker.internal",
        "model.team.svc",
        "model.team.svc.cluster.local",
    ],
)
def test_clear_text_within_ones_own_network_does_not_warn(files, host):
    resolve_config(endpoint_url=f"http://{host}:8080", environ=files(**REGION))


def test_clear_text_in_a_made_up_region_does_not_warn(files):
    resolve_config(endpoint_url="http://example.com", region="local", environ=files())
    resolve_config(endpoint_url="https://example.com", region="eu-west-1", environ=files())


def test_the_warning_names_the_line_that_made_the_session(files):
    class Session:
        def __init__(self):
            resolve_config(s3_endpoint_url="http://example.com", environ=files(**REGION))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Session()
    assert caught[0].filename == __file__
    assert "Session()" in Path(__file__).read_text().splitlines()[caught[0].lineno - 1]


def test_a_config_is_frozen_and_holds_no_secret(files):
    environ = files(
        "[default]\nregion = eu-west-1\naws_secret_access_key = s3cr3t\n",
        "[default]\naws_session_token = s3cr3t\n",
        AWS_SECRET_ACCESS_KEY="s3cr3t",
    )
    config = resolve_config(environ=environ)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.region = "us-east-1"
    assert b"s3cr3t" not in pickle.dumps(config)
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301 - our own, a line above
    assert "s3cr3t" not in repr(config)
