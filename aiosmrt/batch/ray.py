"""Ray Data, for more records than one machine sends: a class for ``Dataset.map_batches``.

    import ray
    from aiosmrt.batch.ray import InvokeEndpoint

    ray.data.read_parquet("s3://bucket/in/").map_batches(
        InvokeEndpoint,
        fn_constructor_kwargs={"endpoint_name": "my-endpoint", "key_field": "id"},
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=4),
    ).write_parquet("s3://bucket/out/")

Ray reads and writes, spreads the records over its workers and starts those anew that
die; what a worker does with its records is what `aiosmrt.batch.run` does. Ray itself is
not imported here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiosmrt._client.client import check_count
from aiosmrt._client.session import Session
from aiosmrt._protocol.operations import INVOKE_ENDPOINT
from aiosmrt._protocol.serialize import check_parameters
from aiosmrt.batch._answers import answer_lines, fault_line
from aiosmrt.batch._arrow import load_pyarrow
from aiosmrt.batch._records import check_column_names, row_record, table_rows
from aiosmrt.batch._tables import to_row, to_table
from aiosmrt.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from typing_extensions import Unpack

    from aiosmrt._aws.retries import RetryPolicy
    from aiosmrt._protocol.models import Timeouts
    from aiosmrt._protocol.parameters import InvokeParameters
    from aiosmrt.batch._records import Record

__all__ = ["InvokeEndpoint"]


class InvokeEndpoint:
    """Invokes an endpoint for every row; each actor has one session, for its life.

    A row is sent as a JSON object of its columns, and becomes a row of the columns that
    `aiosmrt.batch.run` writes to Parquet, but for ``index``: ``key``, ``output``,
    ``content_type``, ``error_type``, ``error_code``, ``error_message``,
    ``error_status_code``, ``attempts`` and ``latency``, in the order of the input. A
    row that fails has its error there. When a worker dies, Ray sends the rows of its
    batches again.

    Args:
        endpoint_name: The endpoint.
        key_field: The column whose value tells which row an answer is of.
        session: Keywords of `Session`, which is made where the actor runs: there must be
            a region and credentials. ``max_connections`` is ``concurrency``.
        concurrency: How many requests each actor has under way at once.
        records_per_request: As for `aiosmrt.batch.run`.
        timeouts: Each request's time limits in place of the session's.
        retries: Each request's retry policy in place of the session's.
        **parameters: Of each request, as for `Session.invoke_endpoint`: ``accept``,
            ``target_variant``, ... The default of ``content_type`` is
            ``application/json``, of several records ``application/jsonlines``.

    Raises:
        ConfigurationError: A setting of the session is missing or out of range.
        ParameterValidationError: A parameter breaks its constraint.
    """

    def __init__(
        self,
        endpoint_name: str,
        *,
        key_field: str,
        session: Mapping[str, Any] | None = None,
        concurrency: int = 64,
        records_per_request: int = 1,
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | None = None,
        **parameters: Unpack[InvokeParameters],
    ) -> None:
        self._pyarrow, _ = load_pyarrow()
        size = records_per_request
        check_count("records_per_request", size)
        parameters.setdefault("content_type", "application/json" + ("lines" if size > 1 else ""))
        check_parameters(INVOKE_ENDPOINT, {"endpoint_name": endpoint_name, **parameters})
        self._key_field = key_field
        self._size = size
        settings: dict[str, Any] = {"max_connections": concurrency, **(session or {})}
        self._session = Session(**settings)
        self._how: dict[str, Any] = {"endpoint_name": endpoint_name, "concurrency": concurrency}
        self._how |= {"timeouts": timeouts, "retries": retries, **parameters}

    async def aclose(self) -> None:
        """Closes the session, where the class is used by itself; Ray ends the whole process."""
        await self._session.aclose()

    async def __call__(self, batch: Any) -> AsyncIterator[Any]:
        """Yields the batch's answers as one table."""
        if not isinstance(batch, self._pyarrow.Table):
            raise ConfigurationError('map_batches must be given batch_format="pyarrow"')
        if self._key_field not in batch.column_names:
            raise ConfigurationError(f"the dataset has no column {self._key_field!r}")
        check_column_names(batch.column_names)
        rows: list[dict[str, Any]] = [{}] * batch.num_rows
        requests = self._requests(batch, rows)
        # Ray has several batches under way in an actor: together they have no more
        # requests than the session has connections.
        async with self._session.invoke_many(requests=requests, **self._how) as items:
            async for item in items:
                lines, _ = answer_lines(item.key, item, joined=self._size > 1)
                for record, line in zip(item.key, lines, strict=True):
                    rows[record.index] = to_row(line)
        yield to_table(rows).drop_columns(["index"])

    def _requests(
        self, batch: Any, rows: list[dict[str, Any]]
    ) -> Iterator[tuple[list[Record], bytes]]:
        for first in range(0, batch.num_rows, self._size):
            part = table_rows(batch.slice(first, self._size))
            group: list[Record] = []
            for index, row in enumerate(part, start=first):
                record = row_record(index, row, self._key_field)
                if record.fault is None:
                    group.append(record)
                else:
                    rows[index] = to_row(fault_line(record))
            if group:
                yield group, b"\n".join([record.body for record in group])
