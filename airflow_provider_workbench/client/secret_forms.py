"""The forms in which a secret can occur in a text, for whoever masks texts."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote, unquote, urlsplit

from airflow_provider_workbench.client.settings import Settings

# characters; what is shorter may be a word of a text that has nothing to do with it
_LONG = 16


def forms_of_settings(settings: Settings) -> tuple[str, ...]:
    """Every form of the connection's token, secret link and session cookie."""
    secrets = (settings.token, settings.secret_link, settings.session_token)
    return tuple(form for secret in secrets if secret for form in _forms(secret))


def forms_for_reading(settings: Settings) -> tuple[str, ...]:
    """The same for who only reads: then no server shows the token in another form than the connection's own."""
    secrets = (settings.secret_link, settings.session_token)
    return _unique(settings.token, *(form for secret in secrets if secret for form in _forms(secret)))


def forms_of_upload_url(url: str) -> tuple[str, ...]:
    """Every form of an upload URL's id, raw and percent-quoted. Without it the rest opens nothing.

    tusd's ids are two with a ``+`` between. Each is a form by itself, and looks the same however the ``+`` is written.
    No more than needed: each form makes Airflow compile a pattern of all that it masks.
    """
    identity = unquote(urlsplit(url).path.rpartition("/")[2])
    parts = identity.split("+")
    if min(map(len, parts)) < _LONG:
        parts = [identity]
    return _unique(*parts, *(quote(part, safe="") for part in parts))


def _forms(secret: str) -> tuple[str, ...]:
    # HEAD's Upload-Metadata carries the token in base64 (protocol section 2)
    return _unique(secret, quote(secret, safe=""), b64encode(secret.encode()).decode())


def _unique(*texts: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text and text != "/"))
