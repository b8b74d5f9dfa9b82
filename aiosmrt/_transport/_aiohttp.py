"""The names of aiohttp that this package uses and that aiohttp does not document.

Each was seen in aiohttp 3.12.7, 3.13.5 and 3.14.5. ``nox -s aiohttp-versions`` runs the
transport's tests on every minor that pyproject.toml admits. Another aiohttp may be installed
all the same: where it lacks a name, the first call reports the name, and nothing is sent.
"""

from __future__ import annotations

import aiohttp

from aiosmrt.errors import ConfigurationError

__all__ = ["USED_NAMES", "ClientRequest", "Trace", "check_aiohttp"]


def _missing(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"aiohttp {aiohttp.__version__} lacks what aiosmrt uses of it: {what}. Install one of the "
        "versions that aiosmrt requires (`pip check` names them)"
    )


try:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace
except ImportError as _error:
    raise _missing(str(_error)) from _error

# Class and attribute, and a test that fails without it.
USED_NAMES = {
    "ClientRequest.loop": "test_a_session_of_another_event_loop_says_so",
    "Connection.close": "test_a_response_cut_at_any_byte_is_an_error",
    "Connection.protocol": "test_a_whole_response_leaves_its_connection_to_the_next",
    "Connection.release": "test_a_connector_of_the_users_gets_each_connection_back",
    "Connection.transport": "test_a_whole_response_leaves_its_connection_to_the_next",
    "ResponseHandler.connection_lost": "test_the_connector_learns_that_a_connection_was_lost",
    "ResponseHandler.should_close": (
        "test_bytes_that_came_for_a_connector_of_the_users_are_nobodys_answer"
    ),
    "TCPConnector.connect": "test_a_whole_response_leaves_its_connection_to_the_next",
    "Trace.send_connection_create_start": (
        "test_an_idle_connection_of_a_users_connector_costs_no_task"
    ),
    "Trace.send_connection_queued_end": "test_waiting_for_a_users_connector_is_a_pool_timeout",
    "Trace.send_connection_queued_start": "test_waiting_for_a_users_connector_is_a_pool_timeout",
    "Trace.send_connection_reuseconn": "test_a_fresh_connection_passes_over_the_idle_ones",
}


def check_aiohttp(request: ClientRequest) -> None:
    """Makes sure that aiohttp has every name in ``USED_NAMES``.

    Raises:
        ConfigurationError: A name is missing; the text has it and aiohttp's version.
    """
    owners = {
        "ClientRequest": request,  # its loop is the instance's alone
        "Connection": Connection,
        "ResponseHandler": ResponseHandler,
        "TCPConnector": aiohttp.TCPConnector,
        "Trace": Trace,
    }
    for used in USED_NAMES:
        owner, _, name = used.partition(".")
        if not hasattr(owners[owner], name):
            raise _missing(used)
