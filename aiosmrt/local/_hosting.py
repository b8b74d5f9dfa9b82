"""Which model answers a call: endpoints with their variants, containers, components, models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from aiosmrt.local._answers import Answer, Backend
from aiosmrt.local._refusals import endpoint_not_found, target_missing, target_not_found
from aiosmrt.local._sessions import StatefulSessions

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from aiosmrt.local._parameters import Call

__all__ = ["Deployment", "Hosting"]

# What a call names a target by, and where a deployment has its own name of that kind.
_TARGETS = (
    ("inference_component_name", "inference_component"),
    ("target_container_hostname", "container_hostname"),
    ("target_model", "model"),
    ("target_variant", "variant"),
)


@attrs.frozen(kw_only=True, eq=False)
class Deployment:
    """A model behind an endpoint, and what calls choose it by.

    Attributes:
        backend: The model.
        variant: Its production variant, None where the endpoint has but one.
        weight: Its share of the calls that name no variant.
        container_hostname: Its container's host name on a multi-container endpoint.
        inference_component: Its inference component.
        model: Its name on a multi-model endpoint.
    """

    backend: Backend
    variant: str | None = None
    weight: float = 1.0
    container_hostname: str | None = None
    inference_component: str | None = None
    model: str | None = None

    @property
    def variant_name(self) -> str:
        """The variant as the service names it; ``AllTraffic`` is the SDKs' own default."""
        return self.variant or "AllTraffic"

    def is_named_like(self, other: Deployment) -> bool:
        """Whether no call could tell the two apart."""
        return all(getattr(self, name) == getattr(other, name) for _, name in _TARGETS)


@attrs.define
class _Endpoint:
    deployments: list[Deployment]
    sessions: StatefulSessions[Deployment]


class Hosting:
    """The endpoints of the account: ``chance`` splits their traffic by weight."""

    def __init__(self, clock: Callable[[], datetime], chance: random.Random) -> None:
        self._clock = clock
        self._chance = chance
        self._endpoints: dict[str, _Endpoint] = {}
        self._replaced: list[Deployment] = []

    def deploy(self, endpoint_name: str, deployment: Deployment) -> None:
        """Puts a model behind an endpoint, in the place of one that is named alike."""
        endpoint = self._endpoints.setdefault(
            endpoint_name, _Endpoint([], StatefulSessions(self._clock))
        )
        for position, older in enumerate(endpoint.deployments):
            if deployment.is_named_like(older):
                endpoint.deployments[position] = deployment
                self._replaced.append(older)  # it may still be answering
                return
        endpoint.deployments.append(deployment)

    def resolve(self, call: Call) -> Deployment:
        """Finds the model for a call.

        A kind of target that the endpoint makes no use of is not looked at: the model
        sees what the call named, and answers as it likes.

        Raises:
            Refusal: The endpoint, the target or the session is not there, or a target
                must be named.
        """
        endpoint = self._endpoints.get(call.endpoint_name)
        if endpoint is None:
            raise endpoint_not_found(call.endpoint_name)
        session_id = call.parameters.get("session_id")
        owner = endpoint.sessions.owner(session_id) if session_id else None
        if owner is not None:
            return owner
        found: Sequence[Deployment] = tuple(endpoint.deployments)  # a thread may add to them
        for parameter, attribute in _TARGETS:
            found = _narrowed(found, attribute, call.parameters.get(parameter), call.endpoint_name)
        if len(found) == 1:
            return found[0]
        weights = [deployment.weight for deployment in found]
        return self._chance.choices(found, weights if any(weights) else None)[0]

    def note(self, call: Call, deployment: Deployment, answer: Answer) -> None:
        """Keeps what an answer says of stateful sessions."""
        if answer.new_session_id or answer.closed_session_id:
            sessions = self._endpoints[call.endpoint_name].sessions
            sessions.note(answer.new_session_id, answer.closed_session_id, deployment)

    def backends(self) -> list[Backend]:
        """Every model of every endpoint, and those whose place another took."""
        deployments = [*self._replaced]
        for endpoint in self._endpoints.values():
            deployments += endpoint.deployments
        return [deployment.backend for deployment in deployments]


def _narrowed(
    deployments: Sequence[Deployment], attribute: str, wanted: str | None, endpoint_name: str
) -> Sequence[Deployment]:
    names = [getattr(deployment, attribute) for deployment in deployments]
    if not any(names):
        return deployments
    if wanted is None and attribute == "variant":
        return deployments
    found = [
        deployment for deployment, name in zip(deployments, names, strict=True) if name == wanted
    ]
    if not found:
        raise (
            target_missing(attribute)
            if wanted is None
            else target_not_found(attribute, wanted, endpoint_name)
        )
    return found
