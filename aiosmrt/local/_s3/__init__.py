"""The S3 that a local endpoint serves: its requests, its documents, its objects."""
