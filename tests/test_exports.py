"""The public surface, pinned: a name that comes or goes is a decision, made here too."""

from __future__ import annotations

import ast
import inspect
import json
import pickle
import pkgutil
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import get_type_hints

import attrs
import pytest

import aiosmrt

TYPING = Path(__file__).parent / "typing"
SURFACE = {
    "aiosmrt": """
        AccessDeniedException AiosmrtError AsyncInferenceError AsyncInferenceResult
        AsyncInvocation BatchItem BatchItems CachingProvider ChecksumMismatchError
        CollectedStream ConfigurationError ConnectError ConnectTimeoutError
        ConnectionLostError Credentials CredentialsError CredentialsProvider
        DeadlineExceededError DecodedStream EventStreamError ExpiredTokenException
        InternalDependencyException InternalFailure InternalStreamFailure
        InvalidMessageError InvokeEndpointAsyncInput InvokeEndpointInput
        InvokeEndpointOutput InvokeEndpointWithResponseStreamInput MessageTooLargeError
        ModelError ModelNotReadyException ModelStreamError NewSession
        ParameterValidationError PayloadPart PoolTimeoutError ReadTimeoutError
        ResponseMetadata ResponseStream ResponseStreamCall RetryPolicy ServiceError
        ServiceUnavailable Session StreamStats StreamTruncatedError ThrottlingException
        Timeouts TransportError UnknownServiceError ValidationError
    """,
    "aiosmrt.batch": """
        AnswerCountError BatchSummary OutputError Progress RecordFaultError run show_progress
    """,
    "aiosmrt.batch.ray": "InvokeEndpoint",
    "aiosmrt.errors": """
        AccessDeniedException AiosmrtError AsyncInferenceError ChecksumMismatchError
        ConfigurationError ConnectError ConnectTimeoutError ConnectionLostError
        CredentialsError DeadlineExceededError EventStreamError ExpiredTokenException
        InternalDependencyException InternalFailure InternalStreamFailure
        InvalidMessageError MessageTooLargeError ModelError ModelNotReadyException
        ModelStreamError ParameterValidationError PoolTimeoutError ReadTimeoutError
        ServiceError ServiceUnavailable StreamTruncatedError ThrottlingException
        TransportError UnknownServiceError ValidationError
    """,
    "aiosmrt.eventstream": """
        Byte EventStreamDecoder HeaderValue Int32 Int64 Message Short encode_message
    """,
    "aiosmrt.framing": """
        NEED_DATA JSONLinesDecoder JSONStreamDecoder JSONValuesDecoder LineDecoder NeedData
        SSEDecoder ServerSentEvent TextDecoder Token TokenDecoder TokenUsage
    """,
    "aiosmrt.instrumentation": """
        AttemptEnded CallEnded CallHooks CallStarted Generation
    """,
    "aiosmrt.instrumentation.opentelemetry": "OpenTelemetry",
    "aiosmrt.local": """
        AsyncInference Fault Handler Injection LocalEndpoint ModelFailure ModelRequest
        ModelResponse ReceivedRequest
    """,
}
NAMES = [(module, name) for module, names in SURFACE.items() for name in names.split()]
OBJECTS = [
    pytest.param(module, value, id=f"{module}.{name}")
    for module, name in NAMES
    if isinstance(value := getattr(import_module(module), name), (FunctionType, type))
]


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after a statement, and not before it."""
    script = (
        "import json, sys; before = set(sys.modules)\n"
        f"{statement}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    return set(json.loads(run.stdout))


@pytest.mark.parametrize("module", SURFACE)
def test_the_surface_is_what_is_pinned(module):
    assert import_module(module).__all__ == SURFACE[module].split()


@pytest.mark.parametrize("module, name", NAMES, ids=map(".".join, NAMES))
def test_every_public_name_loads_and_is_documented(module, name):
    value = getattr(import_module(module), name)
    assert name in dir(import_module(module))
    if isinstance(value, type):
        assert value.__doc__


def test_every_module_without_an_underscore_is_public():
    modules = [module.name for module in pkgutil.walk_packages(aiosmrt.__path__, "aiosmrt.")]
    public = {name for name in modules if "._" not in name}
    assert public == set(SURFACE) - {"aiosmrt"}


@pytest.mark.parametrize("module, value", OBJECTS)
def test_a_public_object_says_where_users_find_it(module, value):
    """In tracebacks, in help and in pickles; whoever imports it, and from wherever."""
    assert value.__module__ == ("aiosmrt" if module == "aiosmrt.errors" else module)
    assert pickle.loads(pickle.dumps(value)) is value  # noqa: S301 - written one line above


@pytest.mark.parametrize("module, value", OBJECTS)
def test_the_types_of_a_public_class_can_be_resolved(module, value):
    """Though they are looked up in the module that it says it is from; cattrs does."""
    if isinstance(value, type):
        hints = get_type_hints(value)
        assert not any(inspect.isdatadescriptor(hint) for hint in hints.values())
        if attrs.has(value):
            fields = attrs.fields(attrs.resolve_types(value))
            assert {field.name: field.type for field in fields} == hints


def documentation(value: object) -> list[str]:
    """The docstrings that ``help`` shows of a module, a class or a function."""
    members = [value]
    if isinstance(value, type):
        members += [member for name, member in vars(value).items() if not name.startswith("_")]
        members.append(value.__init__)
    return [inspect.getdoc(member) or "" for member in members]


@pytest.mark.parametrize("module", SURFACE)
def test_no_documentation_sends_users_to_a_private_module(module):
    public = import_module(module)
    values = [public, *(getattr(public, name) for name in public.__all__)]
    texts = "\n".join(text for value in values for text in documentation(value))
    assert not re.findall(r"`[\w.]*\b_\w+\.\w[\w.]*`|aiosmrt[\w.]*\._\w+", texts)


def test_a_session_loads_what_its_calls_need_and_no_more():
    credentials = "aiosmrt.Credentials('a', 'b')"
    loaded = loaded_by(f"import aiosmrt; aiosmrt.Session(region='r', credentials={credentials})")
    assert "aiosmrt._client.session" in loaded
    others = "_client.async_inference _client.many _client.streaming _s3 batch eventstream framing"
    assert not loaded & {f"aiosmrt.{name}" for name in [*others.split(), "instrumentation"]}


def test_every_error_is_importable_from_the_top():
    errors = import_module("aiosmrt.errors")
    assert set(errors.__all__) <= set(SURFACE["aiosmrt"].split())


def test_every_public_name_is_used_as_users_write_it():
    """So the type checkers, which read that file strictly, have judged every one of them."""
    written = (TYPING / "api.py").read_text(encoding="utf-8")
    used = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(ast.parse(written))
        if isinstance(node, (ast.Attribute, ast.Name))
    }
    assert {name for _, name in NAMES} <= used


def test_a_wrong_call_must_be_caught_by_both_type_checkers():
    """An ignore that ignores nothing fails `nox -s types`: so does a call that one takes."""
    lines = (TYPING / "wrong_calls.py").read_text(encoding="utf-8").splitlines()
    ignores = [("# type: ignore[" in line, "# pyright: ignore[" in line) for line in lines]
    assert ignores.count((True, True)) >= 30
    assert set(ignores) == {(True, True), (False, False)}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Sesion'"):
        _ = import_module("aiosmrt").Sesion


@pytest.mark.parametrize("module", [module for module in SURFACE if module.count(".") == 1])
def test_a_module_with_public_names_is_loaded_when_it_is_first_used(module):
    loaded = loaded_by(f"import aiosmrt; {module}; assert {module!r}.split('.')[1] in dir(aiosmrt)")
    assert module in loaded


def test_importing_the_package_loads_nothing_of_it_yet():
    assert {name for name in loaded_by("import aiosmrt") if "aiosmrt" in name} == {"aiosmrt"}


@pytest.mark.parametrize("module", ["aiosmrt.eventstream", "aiosmrt.framing", "aiosmrt.errors"])
def test_parsers_load_the_standard_library_and_attrs_alone(module):
    roots = {name.split(".")[0] for name in loaded_by(f"import {module}")}
    assert roots - sys.stdlib_module_names <= {"aiosmrt", "attr", "attrs"}
    assert "asyncio" not in roots


def test_the_session_loads_no_module_of_another_use():
    loaded = loaded_by("import aiosmrt; aiosmrt.Session")
    assert "aiohttp" in loaded
    assert not {name.split(".")[0] for name in loaded} & {
        "boto3",
        "botocore",
        "obstore",
        "opentelemetry",
        "pytest",
    }
    others = {"aiosmrt.batch", "aiosmrt._cli", "aiosmrt.instrumentation", "aiosmrt.local"}
    assert not (others | {"aiosmrt.instrumentation._watch", "aiohttp.web"}) & loaded
