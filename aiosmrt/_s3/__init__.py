"""S3 objects: the inputs and results of async inference."""
