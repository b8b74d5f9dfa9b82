"""What every AWS SDK has: configuration, endpoints, credentials, signatures, retries."""
