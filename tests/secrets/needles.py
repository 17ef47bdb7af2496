"""What is searched for: secrets, in the forms in which they could be written down."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

RAW = "raw"
QUOTED = "percent-quoted"
IN_JSON = "JSON-escaped"
BASE64 = ("base64", "base64 after 1 byte", "base64 after 2 bytes")


@dataclass(frozen=True)
class Secret:
    """Something that must not show.

    :ivar kind: such as ``API token``
    :ivar owner: whose it is, for the report, which shows no secret
    """

    kind: str
    owner: str
    value: str = field(repr=False)

    def forms(self) -> dict[str, bytes]:
        """What to look for, by the form's name. Forms that are the same, or contain another, are left out."""
        quoted = quote(self.value, safe="")
        texts = {
            RAW: self.value.encode(),
            QUOTED: quoted.encode(),
            f"{QUOTED}, small letters": _small_escapes(quoted).encode(),
            f"{QUOTED} but for slashes": quote(self.value, safe="/:").encode(),
            f"{QUOTED} twice": quote(quoted, safe="").encode(),
            IN_JSON: json.dumps(self.value)[1:-1].encode(),
        }
        for shift, name in enumerate(BASE64):
            texts[name] = _inner_base64(self.value.encode(), shift)
            texts[f"{name}, for URLs"] = texts[name].replace(b"+", b"-").replace(b"/", b"_")
        return {name: text for text, name in reversed({text: name for name, text in reversed(texts.items())}.items())}

    def written(self, form: str) -> str:
        """The secret as something might write it in this form, with what base64 would have around it."""
        if form in BASE64:
            return b64encode(b"x" * BASE64.index(form) + self.value.encode() + b"yz").decode()
        return {
            RAW: self.value,
            QUOTED: quote(self.value, safe=""),
            IN_JSON: json.dumps(self.value)[1:-1],
        }[form]


def secrets_of_upload(url: str, metadata_pairs: list[str], owner: str) -> Iterator[Secret]:
    """Of an upload: its address, whole and in parts, and what the upload host says about it.

    :param metadata_pairs: of ``Upload-Metadata``
    """
    path = urlsplit(url).path
    identity = path.rpartition("/")[2]
    yield Secret("upload URL", owner, url)
    yield Secret("upload path", owner, path)
    yield Secret("upload id", owner, identity)
    for half in identity.split("+"):
        yield Secret("half of an upload id", owner, half)
    for pair in metadata_pairs:
        yield Secret("Upload-Metadata", owner, pair)


def _inner_base64(text: bytes, shift: int) -> bytes:
    """The part of its base64 that is the same whatever stands around it, ``shift`` bytes after a multiple of three."""
    encoded = b64encode(b"\0" * shift + text)
    return encoded[(shift * 8 + 5) // 6 : (shift + len(text)) * 8 // 6]


def _small_escapes(quoted: str) -> str:
    head, *rest = quoted.split("%")
    return "".join([head, *(f"%{each[:2].lower()}{each[2:]}" for each in rest)])
