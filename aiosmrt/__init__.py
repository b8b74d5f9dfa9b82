"""aiosmrt: the asyncio-native client for Amazon SageMaker Runtime."""
