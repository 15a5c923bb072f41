"""An S3 server of a test's own, on a free port of 127.0.0.1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import boto3
import s3fs
from moto.server import ThreadedMotoServer


@contextmanager
def s3_bucket(name: str) -> Iterator[None]:
    """A server with the empty bucket ``name``, to which the environment's AWS settings lead.

    s3fs keeps its connections by the bucket's name, with the address of the server that was
    there first: they are dropped before and after, so that no test reaches another test's server.
    """
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    settings = {
        "AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()),
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with patch.dict(os.environ, settings):
            client = boto3.client("s3")
            client.create_bucket(Bucket=name)
            client.close()
            yield
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()
