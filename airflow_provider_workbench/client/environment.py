"""What the process's environment may add to a request – a proxy and trusted authorities, nothing else – and TLS.

HTTP libraries would also take credentials from ``.netrc`` and let ``REQUESTS_CA_BUNDLE`` win over the
connection's own authority (protocol section 5), so both transports ask here instead.
"""

from __future__ import annotations

import os
import ssl
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi

from airflow_provider_workbench.client import failures
from airflow_provider_workbench.client.endpoint import is_host
from airflow_provider_workbench.client.errors import ConfigurationError, printable
from airflow_provider_workbench.client.settings import Settings


def proxy_for(url: str) -> str | None:
    """The proxy that ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` ask for, or None.

    :raises ConfigurationError: it is not an HTTP proxy, or its address cannot be used. Never quotes it
    """
    parts = urlsplit(url)
    scheme = {"wss": "https", "ws": "http"}.get(parts.scheme, parts.scheme)
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    kind = proxy.partition("://")[0].lower()
    if kind not in ("http", "https"):
        raise ConfigurationError(
            f"The environment names a {printable(kind, 20)}:// proxy for {parts.hostname}, and only http:// and "
            "https:// ones can be used: set HTTPS_PROXY to such a one, or add the host to NO_PROXY."
        )
    if not _is_usable(proxy):
        raise ConfigurationError(
            f"The environment's proxy for {parts.hostname} has an address that cannot be used: HTTPS_PROXY, HTTP_PROXY "
            "or ALL_PROXY should look like http://user:password@proxy.example:3128, with odd characters "
            "percent-encoded."
        )
    return proxy


def _is_usable(proxy: str) -> bool:
    """False for what HTTP libraries fail on in ways of their own, which show the password."""
    try:
        parts = urlsplit(proxy)
        parts.port  # noqa: B018 - urlsplit checks the port only when it is asked for
        unquote(f"{parts.username}{parts.password}").encode("latin-1")
    except ValueError:
        return False
    return is_host(parts.hostname or "") and proxy.isprintable() and " " not in proxy


def proxy_passwords() -> tuple[str, ...]:
    """Passwords of the environment's proxies, as written and unquoted."""
    proxies = getproxies()
    # not urlsplit, which fails on addresses that cannot be used
    users = [proxies.get(kind, "").rpartition("@")[0].rpartition("://")[2] for kind in ("https", "http", "all")]
    passwords = [user.partition(":")[2] for user in users]
    return tuple(dict.fromkeys(form for password in passwords if password for form in (password, unquote(password))))


def trusted_authorities(settings: Settings) -> str:
    """Path of the PEM file to check certificates with: the connection's, else the environment's, else certifi's.

    It may be a folder, as OpenSSL's ``c_rehash`` makes them.
    """
    named = settings.ca_bundle or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return named or certifi.where()


def ssl_context(settings: Settings) -> ssl.SSLContext:
    """The connection's TLS settings. Reads files.

    :raises ConfigurationError: one of them cannot be read
    """
    unreadable = False
    try:
        if settings.verify_tls:
            trusted = trusted_authorities(settings)
            folder = os.path.isdir(trusted)
            context = ssl.create_default_context(cafile=None if folder else trusted, capath=trusted if folder else None)
        else:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if settings.client_cert:
            # a password, even a wrong one, keeps OpenSSL from asking for it on the terminal
            context.load_cert_chain(settings.client_cert, settings.client_key, password="-")
            # a server may ask for it only when it has seen the request
            context.post_handshake_auth = True
    except OSError:
        unreadable = True
    if unreadable:
        raise failures.unreadable_tls_file(settings)
    return context
