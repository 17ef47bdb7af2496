"""The search knows a secret in whatever it is wrapped."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest
from needles import Secret, secrets_of_upload
from places import Place, search

VALUE = "a~b/c+d'\"=&%€ token of 40 characters and more"
SECRET = Secret("API token", "somebody", VALUE)


def is_found(text: str | bytes, secret: Secret = SECRET) -> bool:
    data = text if isinstance(text, bytes) else text.encode()
    return bool(search([Place("file", "a", b"nothing"), Place("file", "b", b"before " + data + b" after")], [secret]))


@pytest.mark.parametrize("before", ["", "1", "12", "123", "user:"])
@pytest.mark.parametrize("after", ["", "1", "12", "@host"])
@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
def test_in_base64_wherever_it_stands(encode, before, after):
    assert is_found(encode((before + VALUE + after).encode()))


@pytest.mark.parametrize("safe", ["", "/:"])
def test_percent_quoted(safe):
    assert is_found(quote(VALUE, safe=safe))


def test_percent_quoted_twice():
    assert is_found(quote(quote(VALUE, safe=""), safe=""))


def test_percent_quoted_in_small_letters():
    identity = Secret("upload id", "somebody", "0123456789abcdef+tail")
    assert is_found("/files/0123456789abcdef%2btail", identity)
    assert is_found(quote_plus(identity.value), identity)


def test_in_json():
    assert is_found(json.dumps({"a": [f"Bearer {VALUE}"]}))


def test_a_part_of_an_upload_url_is_found():
    url = "https://upload.example/files/0123456789abcdef+tail-of-it"
    secrets = list(secrets_of_upload(url, ["apiToken dG9rZW4="], "somebody"))
    for text in (url, "/files/0123456789abcdef%2Btail-of-it", "tail-of-it", "0123456789abcdef", "apiToken dG9rZW4="):
        assert search([Place("file", "a", text.encode())], secrets), text
    assert not search([Place("file", "a", b"https://upload.example/files/")], secrets)


def test_a_hit_says_where_and_what_but_not_the_secret():
    (hit,) = search([Place("file", "a.log", VALUE.encode())], [SECRET])
    assert str(hit) == "file: a.log: API token of somebody, raw"
