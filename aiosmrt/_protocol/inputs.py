"""The parameters of the three operations as objects: keyword-only, slotted, frozen.

What the service model marks as sensitive (Body, CustomAttributes) stays out of ``repr``. The
methods of a session take the same parameters one by one, so that a first call need not load
this module.
"""

from typing import TypeAlias

import attrs

from aiosmrt._protocol.models import Body

__all__ = [
    "AnyInput",
    "InvokeEndpointAsyncInput",
    "InvokeEndpointInput",
    "InvokeEndpointWithResponseStreamInput",
]


@attrs.frozen(kw_only=True)
class InvokeEndpointInput:
    """The parameters of InvokeEndpoint; the service's constraints are checked when it is sent.

    Attributes:
        endpoint_name: The endpoint, at most 63 letters, digits and hyphens.
        body: The data in the form that ``content_type`` names; str is sent as UTF-8.
        content_type: The body's MIME type, at most 1024 ASCII characters.
        accept: The MIME type wanted of the answer, at most 1024 ASCII characters.
        custom_attributes: Passed to the container unread, at most 1024 visible ASCII.
        target_model: The model of a multi-model endpoint, 1 to 1024 characters.
        target_variant: The production variant, at most 63 characters.
        target_container_hostname: The container of a multi-container endpoint.
        inference_id: An id of the caller's for this inference, 1 to 64 characters.
        enable_explanations: A JMESPath expression for Clarify, 1 to 64 characters.
        inference_component_name: The inference component, at most 63 characters.
        session_id: A stateful session's id, or ``NEW_SESSION`` to open one.
        prefix_aware_id: Routes requests of a common prefix together, 1 to 64 characters.
    """

    endpoint_name: str
    body: Body = attrs.field(repr=False)
    content_type: str | None = None
    accept: str | None = None
    custom_attributes: str | None = attrs.field(default=None, repr=False)
    target_model: str | None = None
    target_variant: str | None = None
    target_container_hostname: str | None = None
    inference_id: str | None = None
    enable_explanations: str | None = None
    inference_component_name: str | None = None
    session_id: str | None = None
    prefix_aware_id: str | None = None


@attrs.frozen(kw_only=True)
class InvokeEndpointWithResponseStreamInput:
    """The parameters of InvokeEndpointWithResponseStream; see InvokeEndpointInput for each."""

    endpoint_name: str
    body: Body = attrs.field(repr=False)
    content_type: str | None = None
    accept: str | None = None
    custom_attributes: str | None = attrs.field(default=None, repr=False)
    target_variant: str | None = None
    target_container_hostname: str | None = None
    inference_id: str | None = None
    inference_component_name: str | None = None
    session_id: str | None = None
    prefix_aware_id: str | None = None


@attrs.frozen(kw_only=True)
class InvokeEndpointAsyncInput:
    """The parameters of InvokeEndpointAsync: exactly one of ``input_location`` and ``body``.

    Attributes:
        endpoint_name: The endpoint, at most 63 letters, digits and hyphens.
        input_location: The input's S3 URI, ``s3://bucket/key``, 1 to 1024 characters.
        body: The input itself, at most 128,000 bytes.
        content_type: The input's MIME type, at most 1024 ASCII characters.
        accept: The MIME type wanted of the output, at most 1024 ASCII characters.
        custom_attributes: Passed to the container unread, at most 1024 visible ASCII.
        inference_id: An id of the caller's; the service makes one where it is missing.
        s3_output_path_extension: Appended to the endpoint's output path, 1 to 512 characters.
        filename: The output object's name, 1 to 32 characters with one dot at most.
        request_ttl_seconds: How long the request may wait in the queue, 60 to 21600.
        invocation_timeout_seconds: How long the model may take, 1 to 3600.
    """

    endpoint_name: str
    input_location: str | None = None
    body: Body | None = attrs.field(default=None, repr=False)
    content_type: str | None = None
    accept: str | None = None
    custom_attributes: str | None = attrs.field(default=None, repr=False)
    inference_id: str | None = None
    s3_output_path_extension: str | None = None
    filename: str | None = None
    request_ttl_seconds: int | None = None
    invocation_timeout_seconds: int | None = None


AnyInput: TypeAlias = (
    InvokeEndpointInput | InvokeEndpointWithResponseStreamInput | InvokeEndpointAsyncInput
)

for _public in (
    InvokeEndpointAsyncInput,
    InvokeEndpointInput,
    InvokeEndpointWithResponseStreamInput,
):
    _public.__module__ = "aiosmrt"
