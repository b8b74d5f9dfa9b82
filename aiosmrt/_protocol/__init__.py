"""The service's operations as data, and the shapes they carry. No I/O."""
