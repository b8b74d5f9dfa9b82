"""The header parameters that a caller gives once for many requests, as type checkers see them.

The operation table checks their names and values at run time.
"""

from __future__ import annotations

from typing import TypedDict

__all__ = ["InvokeParameters", "StreamParameters"]


class StreamParameters(TypedDict, total=False):
    """The header parameters of InvokeEndpointWithResponseStream."""

    content_type: str | None
    accept: str | None
    custom_attributes: str | None
    target_variant: str | None
    target_container_hostname: str | None
    inference_id: str | None
    inference_component_name: str | None
    session_id: str | None
    prefix_aware_id: str | None


class InvokeParameters(StreamParameters, total=False):
    """The header parameters of InvokeEndpoint."""

    target_model: str | None
    enable_explanations: str | None
