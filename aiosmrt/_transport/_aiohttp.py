"""The names of aiohttp that this package uses and that aiohttp does not document.

Each was seen in aiohttp 3.12.7, 3.13.5 and 3.14.5. ``nox -s aiohttp-versions`` runs the
transport's tests on every minor that pyproject.toml admits. Another aiohttp may be installed
all the same: where it lacks a name, the first call reports the name, and nothing is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from aiosmrt.errors import ConfigurationError

if TYPE_CHECKING:
    import asyncio

__all__ = ["USED_NAMES", "ClientRequest", "HttpProcessingError", "Trace", "check_aiohttp"]


def _missing(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"aiohttp {aiohttp.__version__} lacks what aiosmrt uses of it: {what}. Install one of the "
        "versions that aiosmrt requires (`pip check` names them)"
    )


try:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.http_exceptions import HttpProcessingError
    from aiohttp.tracing import Trace
except ImportError as _error:
    raise _missing(str(_error)) from _error

# Class and attribute, and a test that fails without it. The attributes by which chunks.py
# takes a reader's chunks are left out: it does without them, if more slowly.
USED_NAMES = {
    "ClientRequest.loop": "test_a_session_of_another_event_loop_says_so",
    "Connection.close": "test_a_response_cut_at_any_byte_is_an_error",
    "Connection.protocol": "test_a_whole_response_leaves_its_connection_to_the_next",
    "Connection.release": "test_a_connector_of_the_users_gets_each_connection_back",
    "ResponseHandler._drain_helper": "test_a_slow_upload_does_not_count_as_a_slow_answer",
    "ResponseHandler._parser": "test_bytes_that_came_while_idle_are_nobodys_answer",
    "ResponseHandler.exception": "test_a_response_cut_at_any_byte_is_an_error",
    "ResponseHandler.force_close": (
        "test_a_whole_answer_with_garbage_behind_it_is_one_and_its_connection_no_more"
    ),
    "ResponseHandler.is_connected": "test_a_kept_connection_that_died_is_told_from_a_lost_one",
    "ResponseHandler.read": "test_a_whole_response_leaves_its_connection_to_the_next",
    "ResponseHandler.resume_reading": "test_a_reader_is_read_to_its_end",
    "ResponseHandler.set_exception": "test_no_head_in_time_is_a_read_timeout",
    "ResponseHandler.set_response_params": "test_a_body_that_ends_with_the_connection_is_whole",
    "ResponseHandler.should_close": "test_what_came_behind_an_answer_is_no_part_of_the_next",
    "ResponseHandler.transport": "test_a_whole_response_leaves_its_connection_to_the_next",
    "StreamReader.exception": "test_waiting_ends_with_what_is_set_on_the_reader",
    "StreamReader.is_eof": "test_a_reader_is_read_to_its_end",
    "StreamReader.set_exception": "test_no_further_byte_in_time_is_a_read_timeout",
    "StreamReader.total_bytes": "test_what_came_while_the_loop_was_busy_came_in_time",
    "TCPConnector.connect": "test_a_whole_response_leaves_its_connection_to_the_next",
    "Trace.send_connection_queued_end": "test_waiting_for_a_users_connector_is_a_pool_timeout",
    "Trace.send_connection_queued_start": "test_waiting_for_a_users_connector_is_a_pool_timeout",
    "Trace.send_connection_reuseconn": "test_a_fresh_connection_passes_over_the_idle_ones",
}


def check_aiohttp(request: ClientRequest, loop: asyncio.AbstractEventLoop) -> None:
    """Makes sure that aiohttp has every name in ``USED_NAMES``.

    Raises:
        ConfigurationError: A name is missing; the text has it and aiohttp's version.
    """
    # Most are the instances' alone.
    protocol = ResponseHandler(loop)
    owners = {
        "ClientRequest": request,
        "Connection": Connection,
        "ResponseHandler": protocol,
        "StreamReader": aiohttp.StreamReader(protocol, 65_536, loop=loop),
        "TCPConnector": aiohttp.TCPConnector,
        "Trace": Trace,
    }
    for used in USED_NAMES:
        owner, _, name = used.partition(".")
        if not hasattr(owners[owner], name):
            raise _missing(used)
