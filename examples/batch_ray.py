"""Parquet files through an endpoint by Ray Data, on as many machines as its cluster has.

    python examples/batch_ray.py ENDPOINT s3://bucket/in/ s3://bucket/out/ KEY_COLUMN

Region and credentials are found where each actor runs, as everywhere.
"""

from __future__ import annotations

import sys

import ray

from aiosmrt.batch.ray import InvokeEndpoint


def main(endpoint_name: str, source: str, output: str, key_field: str) -> None:
    ray.data.read_parquet(source).map_batches(
        InvokeEndpoint,
        fn_constructor_kwargs={
            "endpoint_name": endpoint_name,
            "key_field": key_field,
            "concurrency": 64,  # of each actor
        },
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=2),
        num_cpus=0.5,  # it waits more than it works
    ).write_parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
