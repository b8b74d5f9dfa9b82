"""AWS's shared config and credentials files: which profiles they hold, and what each says.

The dialect is botocore's (``configloader``): Python's own INI parser, profiles as
``[profile name]`` in the config file and ``[name]`` in the credentials file, a value that
begins on the next line as a nested block. Botocore drops a file that it may not read without a
word and names no line in one that it cannot parse; here both are errors that say where.
"""

from __future__ import annotations

import configparser
import io
import re
import shlex
from pathlib import Path
from typing import Any

import attrs

from aiosmrt.errors import ConfigurationError

__all__ = ["Section", "SharedFile", "SharedFiles", "locate"]


class Section(dict[str, "str | dict[str, str]"]):
    """The keys of one section, in lower case; its values, secrets among them, stay out of repr."""

    def __repr__(self) -> str:
        return f"<Section of {', '.join(self) or 'nothing'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a section may hold secrets: it is not pickled")


@attrs.frozen(eq=False)
class _Fault:
    """What keeps a file from being parsed.

    A value rather than an exception, so that no frame and no context of the error that it
    becomes holds the file's text.
    """

    line: int
    what: str


@attrs.frozen(kw_only=True)
class SharedFile:
    """One of the two files, parsed.

    Attributes:
        path: Where it lies, or would.
        exists: Whether it is there; a path that is no regular file counts as absent, as in
            botocore.
        sections: Its sections by their names as written.
    """

    path: str
    exists: bool
    sections: dict[str, Section] = attrs.field(repr=False)

    @classmethod
    def load(cls, path: str) -> SharedFile:
        """Reads and parses a file.

        Raises:
            ConfigurationError: It cannot be read, is not UTF-8, or is no INI file; with file
                and line, and never with the line's text.
        """
        try:
            exists = Path(path).is_file()
        except OSError:  # another user's HOME: as good as absent
            exists = False
        if not exists:
            return cls(path=path, exists=False, sections={})
        outcome = _read(path)
        if isinstance(outcome, _Fault):
            where = f"{path}, line {outcome.line}" if outcome.line else path
            raise ConfigurationError(f"{where}: {outcome.what}")
        return cls(path=path, exists=True, sections=outcome)


def locate(path: str, section: str, *keys: str) -> str:
    """Says where a key stands, for an error's text.

    The file is read again for it: the parser keeps no line numbers, and nearly no value is ever
    asked for its line.

    Args:
        path: The file's path.
        section: The section's name as written.
        *keys: The key, and the key nested in it; none for the section itself.

    Returns:
        The path with the line's number; the path alone when the line is no longer there.
    """
    try:
        line = _find_line(Path(path).read_text("utf-8"), section, keys)
    except (OSError, UnicodeDecodeError):
        line = 0
    return f"{path}, line {line}" if line else path


def _read(path: str) -> dict[str, Section] | _Fault:
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        return _Fault(0, f"the file cannot be read ({error.strerror})")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return _Fault(raw.count(b"\n", 0, error.start) + 1, "the text is not UTF-8")
    return _parse(text)


def _parse(text: str) -> dict[str, Section] | _Fault:
    parser = configparser.RawConfigParser()
    try:
        parser.read_file(io.StringIO(text, newline=None))
    except configparser.Error as error:
        return _explain(error)
    sections: dict[str, Section] = {}
    for name in parser.sections():
        section = sections[name] = Section()
        for key, value in parser.items(name):
            if not value.startswith("\n"):
                section[key] = value
                continue
            nested = section[key] = {}
            for line in filter(None, map(str.strip, value.splitlines())):
                inner, equals, inner_value = line.partition("=")
                if not equals:
                    return _Fault(
                        _find_line(text, name, (key, line)),
                        f"a line of the block {key} in [{name}] has no '='",
                    )
                nested[inner.strip()] = inner_value.strip()
    return sections


def _explain(error: configparser.Error) -> _Fault:
    # The parser's own texts quote the line, which may be a secret's.
    if isinstance(error, configparser.DuplicateOptionError):
        return _Fault(
            error.lineno or 0, f"[{error.section}] has the key {error.option} a second time"
        )
    if isinstance(error, configparser.DuplicateSectionError):
        return _Fault(error.lineno or 0, f"the section [{error.section}] is there a second time")
    if isinstance(error, configparser.MissingSectionHeaderError):
        return _Fault(error.lineno, "the line stands before the first [section]")
    line = error.errors[0][0] if isinstance(error, configparser.ParsingError) else 0
    return _Fault(line, "the line is no [section], no key with a value and no comment")


def _find_line(text: str, section: str, keys: tuple[str, ...]) -> int:
    """Finds the line of a section, or of a key in it, or of one nested in that; 0 if nowhere."""
    inside = False
    wanted = list(keys)
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        header = configparser.RawConfigParser.SECTCRE.match(line.strip())
        if header:
            inside = header["header"] == section
            if inside and not wanted:
                return number
        elif inside and re.match(rf"\s*{re.escape(wanted[0])}\s*([=:]|$)", line, re.IGNORECASE):
            wanted.pop(0)
            if not wanted:
                return number
    return 0


@attrs.frozen(kw_only=True)
class SharedFiles:
    """Both files, and the profiles that they make together.

    Attributes:
        config: The config file.
        credentials: The credentials file.
    """

    config: SharedFile
    credentials: SharedFile

    @classmethod
    def load(cls, *, config: str, credentials: str) -> SharedFiles:
        """Reads both files.

        Args:
            config: The path of the config file, expanded.
            credentials: The path of the credentials file, expanded.

        Raises:
            ConfigurationError: A file cannot be read or parsed; with file and line.
        """
        return cls(config=SharedFile.load(config), credentials=SharedFile.load(credentials))

    def config_section(self, kind: str, name: str) -> tuple[str, Section] | None:
        """Finds a section of the config file by its kind and name.

        Returns:
            The section's name as written and the section; None if there is none. Of two that
            are written differently, ``[default]`` and ``[profile default]``, the later.
        """
        found = None
        for written, section in self.config.sections.items():
            if _name_of(kind, written) == name:
                found = written, section
        return found

    def profile(self, name: str) -> Section | None:
        """Puts a profile together.

        Returns:
            Its keys from both files, the credentials file's first; None if neither has it.
        """
        in_config = self.config_section("profile", name)
        in_credentials = self.credentials.sections.get(name)
        if in_config is None and in_credentials is None:
            return None
        return Section({**(in_config[1] if in_config else {}), **(in_credentials or {})})

    def profile_names(self) -> list[str]:
        """Lists the profiles of both files."""
        names = {_name_of("profile", written) for written in self.config.sections}
        return sorted({name for name in names if name is not None} | {*self.credentials.sections})

    def place(self, profile: str, key: str) -> tuple[str, str, str]:
        """Says where a key of a profile stands.

        Returns:
            The path of the file whose value counts, the section's name as written and the key:
            what `locate` takes.
        """
        found = self.config_section("profile", profile)
        if found is None or key in self.credentials.sections.get(profile, ()):
            return self.credentials.path, profile, key
        return self.config.path, found[0], key


def _name_of(kind: str, section: str) -> str | None:
    """The name in a section of the config file, None when it is of another kind.

    botocore's rule, word for word: the name is the second of exactly two words, which may be
    quoted; only ``[default]`` is a profile without its kind.
    """
    if section == "default" and kind == "profile":
        return section
    if not section.startswith(kind):
        return None
    if section.isascii() and not any(mark in section for mark in "'\"\\"):
        words = section.split()  # as shlex would, in a fiftieth of its time
    else:
        try:
            words = shlex.split(section)
        except ValueError:
            return None
    return words[1] if len(words) == 2 else None
