"""What the process's environment may add to a request: a proxy and trusted authorities – nothing else.

HTTP libraries would also take credentials from ``.netrc`` and let ``REQUESTS_CA_BUNDLE`` win over the
connection's own authority (protocol section 5), so both transports ask here instead.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi

from airflow_provider_workbench.client.settings import Settings


def proxy_for(url: str) -> str | None:
    """The proxy that ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` ask for, or None."""
    parts = urlsplit(url)
    scheme = {"wss": "https", "ws": "http"}.get(parts.scheme, parts.scheme)
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def trusted_authorities(settings: Settings) -> str:
    """Path of the PEM file to check certificates with: the connection's, else the environment's, else certifi's."""
    named = settings.ca_bundle or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return named or certifi.where()
