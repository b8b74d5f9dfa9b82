"""Which model answers a call: endpoints with their variants, containers, components, models."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

import attrs

from aiosmrt.local._answers import Answer, Backend
from aiosmrt.local._refusals import endpoint_not_found, target_missing, target_not_found
from aiosmrt.local._sessions import StatefulSessions

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from aiosmrt.local._parameters import Call

__all__ = ["Deployment", "Hosting"]

_T = TypeVar("_T")

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


class _Choice:
    """The deployments that a call chooses among, by one kind of target after the other.

    Args:
        kinds: The kinds left, each the parameter that names a target and the attribute that is
            its name; the variant is the last.
    """

    def __init__(self, kinds: Sequence[tuple[str, str]]) -> None:
        (self._parameter, self._attribute), *self._further = kinds
        self._choices: dict[str | None, _Choice] = {}
        self._deployments: dict[str | None, Deployment] = {}
        # Those that share the calls which name no variant, and their weights added up.
        self._shares: tuple[list[Deployment], list[float]] | None = None

    def put(self, deployment: Deployment) -> None:
        """Adds a deployment, in the place of one that is named alike."""
        name: str | None = getattr(deployment, self._attribute)
        if self._further:
            if name not in self._choices:
                self._choices[name] = _Choice(self._further)
            self._choices[name].put(deployment)
        else:
            self._deployments[name] = deployment
            self._shares = None

    def choose(self, call: Call, chance: random.Random) -> Deployment:
        """Finds the deployment for a call.

        Raises:
            Refusal: The target is not there, or must be named.
        """
        wanted: str | None = call.parameters.get(self._parameter)
        if self._further:
            return self._named(self._choices, wanted, call).choose(call, chance)
        if wanted is not None:
            return self._named(self._deployments, wanted, call)
        if len(self._deployments) == 1:
            return next(iter(self._deployments.values()))
        found, weights = self._shares or self._add_up()
        return chance.choices(found, cum_weights=weights if weights[-1] else None)[0]

    def _named(self, choices: Mapping[str | None, _T], wanted: str | None, call: Call) -> _T:
        if (
            len(choices) == 1 and None in choices
        ):  # a kind of target that the endpoint makes no use of
            return choices[None]
        if wanted in choices:
            return choices[wanted]
        raise (
            target_missing(self._attribute)
            if wanted is None
            else target_not_found(self._attribute, wanted, call.endpoint_name)
        )

    def _add_up(self) -> tuple[list[Deployment], list[float]]:
        found = list(self._deployments.values())  # a thread may add to them
        shares = found, list(accumulate(deployment.weight for deployment in found))
        self._shares = shares
        return shares


@attrs.define
class _Endpoint:
    sessions: StatefulSessions[Deployment]
    choice: _Choice = attrs.field(factory=lambda: _Choice(_TARGETS))


class Hosting:
    """The endpoints of the account: ``chance`` splits their traffic by weight."""

    def __init__(self, clock: Callable[[], datetime], chance: random.Random) -> None:
        self._clock = clock
        self._chance = chance
        self._endpoints: dict[str, _Endpoint] = {}
        # Those too whose place another took: they may still be answering.
        self._deployed: list[Deployment] = []

    def deploy(self, endpoint_name: str, deployment: Deployment) -> None:
        """Puts a model behind an endpoint, in the place of one that is named alike."""
        endpoint = self._endpoints.get(endpoint_name)
        if endpoint is None:
            endpoint = self._endpoints[endpoint_name] = _Endpoint(StatefulSessions(self._clock))
        endpoint.choice.put(deployment)
        self._deployed.append(deployment)

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
        return endpoint.choice.choose(call, self._chance)

    def note(self, call: Call, deployment: Deployment, answer: Answer) -> None:
        """Keeps what an answer says of stateful sessions."""
        if answer.new_session_id or answer.closed_session_id:
            sessions = self._endpoints[call.endpoint_name].sessions
            sessions.note(answer.new_session_id, answer.closed_session_id, deployment)

    def backends(self) -> list[Backend]:
        """Every model of every endpoint, and those whose place another took."""
        return [deployment.backend for deployment in self._deployed]
