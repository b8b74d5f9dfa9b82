"""The command line: a thin layer of click over the session, the batch and the local endpoint.

What a command answers goes to stdout, its bytes untouched; all else goes to stderr. The
modules load what calls the service when a command runs, so that ``--help`` is quick.
"""
