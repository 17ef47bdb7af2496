"""Where secrets could have been written down, and the search through it."""

from __future__ import annotations

import contextlib
import gzip
import re
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from needles import Secret

_SEALED = re.compile(rb"gAAAAA[-_A-Za-z0-9]{60,}={0,2}")


@dataclass(frozen=True)
class Place:
    """One file, one value of a table, one answer of the API, one process's argument …

    :ivar kind: what the report counts by
    :ivar name: which one
    """

    kind: str
    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Hit:
    place: Place
    secret: Secret
    form: str

    def __str__(self) -> str:
        return f"{self.place.kind}: {self.place.name}: {self.secret.kind} of {self.secret.owner}, {self.form}"


def search(places: Iterable[Place], secrets: Iterable[Secret]) -> list[Hit]:
    """Every secret, in every form, in every place."""
    by_kind: dict[str, list[Place]] = {}
    for place in places:
        by_kind.setdefault(place.kind, []).append(place)
    needles = [(secret, form, text) for secret in secrets for form, text in secret.forms().items()]
    hits = []
    for those in by_kind.values():
        # one look through all of them costs far less than one through each
        everything = b"\n\0\n".join({place.data for place in those})
        found = [needle for needle in needles if needle[2] in everything]
        hits += [Hit(place, secret, form) for place in those for secret, form, text in found if text in place.data]
    return hits


def counted(places: Iterable[Place]) -> Counter[str]:
    return Counter(place.kind for place in places)


def files_in(folder: Path, kind_of: Callable[[str], str]) -> Iterator[Place]:
    """Every file, whatever its name, also unpacked.

    :param kind_of: by the path within the folder
    """
    for path in sorted(folder.rglob("*")):
        # what ends in the meantime takes its file with it
        with contextlib.suppress(FileNotFoundError):
            if path.is_symlink() or not path.is_file():
                continue
            name = str(path.relative_to(folder))
            yield from with_unpacked(Place(kind_of(name), name, path.read_bytes()))


def values_of(
    database: Path, opened_with: Fernet, tables: Iterable[str] | None = None, kind: str = ""
) -> Iterator[Place]:
    """Every value of every row of every table, and what is inside of those that are sealed or packed.

    :param opened_with: Airflow's Fernet key
    :param kind: of the places, instead of one by table
    """
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        connection.text_factory = bytes
        names = [name.decode() for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in names if tables is None else tables:
            rows = connection.execute(f'SELECT * FROM "{table}"')
            columns = [each[0] for each in rows.description]
            for number, row in enumerate(rows.fetchall(), start=1):
                for column, value in zip(columns, row, strict=True):
                    if value is None:
                        continue
                    data = value if isinstance(value, bytes) else str(value).encode()
                    place = Place(kind or f"database: {table}", f"{table}.{column}, row {number}", data)
                    yield from with_opened(place, opened_with)


def with_opened(place: Place, key: Fernet) -> Iterator[Place]:
    """The place, and what is inside of it if it is packed, or sealed with Airflow's key."""
    yield from with_unpacked(place)
    for sealed in _SEALED.findall(place.data):
        with contextlib.suppress(InvalidToken):
            yield Place(f"{place.kind}, unsealed", place.name, key.decrypt(sealed))


def with_unpacked(place: Place) -> Iterator[Place]:
    yield place
    for unpack in (zlib.decompress, gzip.decompress):
        with contextlib.suppress(zlib.error, OSError, EOFError):
            yield Place(place.kind, f"{place.name}, unpacked", unpack(place.data))
