"""botocore's copy of the service model, and random valid parameters drawn from it.

Nothing here comes from aiosmrt: what is under test must not tell what is right.
"""

from __future__ import annotations

import functools
import re

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from hypothesis import strategies as st

MODEL = ServiceModel(
    Loader().load_service_model("sagemaker-runtime", "service-2"), "sagemaker-runtime"
)

# The model's patterns are Java's. What Python writes otherwise, and the `$` that lets a
# newline follow; the whole value must match, so no anchor says anything more.
_JAVA_TO_PYTHON = {
    r"\p{ASCII}": r"[\x00-\x7F]",
    r"[\p{Print}]": r"[\x20-\x7E]",
    r"\S": r"[^ \t\n\v\f\r]",
    r"(.*)$": r"([^\n\r\x85\u2028\u2029]*)$",
}
_ANCHORS = re.compile(r"\\A|\\z|(?<![\[\\])\^|\$")


def pattern_of(shape: Shape) -> re.Pattern[str] | None:
    """What the whole value must match, None where the model has no pattern."""
    pattern = shape.metadata.get("pattern")
    if pattern is None:
        return None
    if pattern == ".*":
        return re.compile(r"[^\n\r\x85\u2028\u2029]*")
    for java, python in _JAVA_TO_PYTHON.items():
        pattern = pattern.replace(java, python)
    return re.compile(_ANCHORS.sub("", pattern))


def allows(shape: Shape, value: str) -> bool:
    """Whether a text is within a shape's constraints."""
    limits = shape.metadata
    if not limits.get("min", 0) <= len(value) <= limits["max"]:
        return False
    return pattern_of(shape).fullmatch(value) is not None


def has_dot_segment(path: str) -> bool:
    """Whether a path has a segment that a server on the way may remove."""
    return bool({".", ".."} & set(path.split("/")))


# What a header carries as it is, in every HTTP implementation. botocore sends other
# characters, if it can, in another encoding than it signs them in.
_WIRE_SAFE = st.characters(min_codepoint=0x20, max_codepoint=0x7E)


@functools.cache  # Hypothesis takes its time to take a pattern to pieces
def values(shape: Shape) -> st.SearchStrategy:
    """Valid values of a shape that both botocore and a header can carry."""
    limits = shape.metadata
    if shape.type_name == "integer":
        return st.integers(limits["min"], limits["max"])
    if shape.type_name == "blob":
        return st.binary(max_size=200) | st.text(max_size=50)
    return st.from_regex(pattern_of(shape), fullmatch=True, alphabet=_WIRE_SAFE).filter(
        lambda value: (
            len(value) >= 1
            and allows(shape, value)
            and not (shape.name == "S3OutputPathExtensionHeader" and has_dot_segment(value))
        )
    )


@functools.cache
def parameters(operation: str) -> st.SearchStrategy[dict]:
    """Valid sets of an operation's parameters, by botocore's names."""
    members = MODEL.operation_model(operation).input_shape.members
    strategies = {name: values(shape) for name, shape in members.items()}
    name = {"EndpointName": strategies.pop("EndpointName")}
    # One of the two, if there are two.
    inputs = {
        input_: strategies.pop(input_)
        for input_ in sorted({"Body", "InputLocation"} & members.keys())
    }
    return st.one_of(
        st.fixed_dictionaries({**name, input_: strategy}, optional=strategies)
        for input_, strategy in inputs.items()
    )
