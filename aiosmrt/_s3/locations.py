"""Places in S3, as the URIs of inputs and results name them."""

from __future__ import annotations

import re
from urllib.parse import quote

import attrs

from aiosmrt.errors import ParameterValidationError

__all__ = ["S3Location"]

# botocore's rule for a bucket (`handlers.VALID_BUCKET`); dots alone would be a path's.
_URI = re.compile(r"s3://(?!\.+/)([A-Za-z0-9._-]{1,255})/(.+)", re.DOTALL)


@attrs.frozen
class S3Location:
    """A place in S3.

    Attributes:
        bucket: The bucket's name.
        key: The object's key, or a prefix that ends with ``/``; empty for a whole bucket.
    """

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @classmethod
    def parse(cls, uri: str, parameter: str) -> S3Location:
        """Reads an ``s3://bucket/key`` URI.

        Args:
            uri: The URI; what follows the bucket is the key as it is, not percent-encoded.
                Any text is a key: ``a`` and ``a/`` are two, and so are ``a/b`` and ``a//b``.
            parameter: The name that an error gives it.

        Raises:
            ParameterValidationError: The text is not such a URI.
        """
        found = _URI.fullmatch(uri) if isinstance(uri, str) else None
        if found is None:
            length = len(uri) if isinstance(uri, str) else None
            rule = "must be an S3 URI with a key: s3://bucket/key"
            raise ParameterValidationError(parameter, rule, length=length)
        bucket, key = found.groups()
        try:
            key.encode()
        except UnicodeEncodeError:
            rule = "must have a key that UTF-8 can encode: it holds half of a surrogate pair"
            raise ParameterValidationError(parameter, rule, length=len(uri)) from None
        return cls(bucket, key)

    @property
    def directory(self) -> S3Location:
        """The prefix up to the last slash of the key."""
        head, slash, _ = self.key.rpartition("/")
        return S3Location(self.bucket, head + slash)

    @property
    def path(self) -> str:
        """The key as it stands in a URL's path, with the slash before it."""
        return f"/{quote(self.key)}"
