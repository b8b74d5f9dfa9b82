"""What a CredentialsError says of an error that another library or a user's provider raised.

Such an error may hold a secret: a KeyError shows the key, a ValueError the value, botocore the
stderr of a credential process. Its text is shown only where it is known what stands in it, and
only then is it kept as the cause, which tracebacks show.
"""

from __future__ import annotations

import traceback
from typing import Any, cast

from aiosmrt.errors import AiosmrtError, CredentialsError

__all__ = ["credentials_failure"]

# What botocore's sentences (`BotoCoreError.fmt`) may show; error_msg holds a process's stderr.
_SHOWN = frozenset({"cred_var", "profile", "profile_name", "provider", "source_profile"})
_HIDDEN = "(not shown)"
# The standard library's; those of HTTP clients may show a URL's query.
_OS_ERRORS = frozenset({"builtins", "socket", "ssl"})


def credentials_failure(what: str, error: Exception, advice: str) -> CredentialsError:
    """Makes the error to raise, outside of the handler so that it has no other as context.

    Args:
        what: What failed: ``The credentials provider Vault failed``.
        error: The error of others.
        advice: How to learn more where the text is not shown whole.
    """
    kind = type(error).__name__
    text = _safe_text(error)
    if text is None:
        where = f"{kind} at {_place(error)}; its text is not shown, for it may hold a secret"
        message = f"{what} ({where}). {advice}"
    elif _is_whole(error):
        message = f"{what} ({kind}: {text})"
    else:
        message = f"{what} ({kind}: {text}). {advice}"
    failure = CredentialsError(message)
    failure.__cause__ = error if _is_safe_chain(error) else None
    return failure


def _safe_text(error: BaseException) -> str | None:
    """An error's text without what may be secret; None if nothing is known of the text."""
    if isinstance(error, AiosmrtError):
        return error.message
    module = type(error).__module__
    if isinstance(error, OSError) and module in _OS_ERRORS:
        # The name may be a variable's value.
        return str(error) if error.filename is None else str(error.strerror)
    if module.partition(".")[0] in ("aiobotocore", "botocore"):
        return _text_of_botocore(error)
    return None


def _text_of_botocore(error: BaseException) -> str | None:
    if hasattr(error, "operation_name"):  # ClientError: what STS or SSO answered
        code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
        return str(code) if "Validation" in code else str(error)  # which quotes parameters
    sentence = getattr(error, "fmt", None)
    values = getattr(error, "kwargs", None)
    if not isinstance(sentence, str) or not isinstance(values, dict):
        return None
    named = cast("dict[str, Any]", values)
    return sentence.format(
        **{name: value if name in _SHOWN else _HIDDEN for name, value in named.items()}
    )


def _is_whole(error: BaseException) -> bool:
    return isinstance(error, AiosmrtError) or _safe_text(error) == str(error)


def _is_safe_chain(error: BaseException) -> bool:
    """Whether a traceback of an error, with those that led to it, shows no more than its text."""
    link: BaseException | None = error
    while link is not None:
        if not _is_whole(link):
            return False
        link = link.__cause__ or link.__context__
    return True


def _place(error: BaseException) -> str:
    """Where an error was raised."""
    file, line = "?", 0
    for frame, number in traceback.walk_tb(error.__traceback__):
        file, line = frame.f_code.co_filename, number
    return f"{file}, line {line}"
