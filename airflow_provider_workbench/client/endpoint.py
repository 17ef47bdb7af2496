"""The Step's address: the Create-file URL taken apart, and the page's and websocket's URLs made from it."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

from airflow_provider_workbench.client.errors import ConfigurationError, printable

_FILES_PATH = re.compile(r"/api/v1/workflows/(?P<workflow>[0-9]{1,18})/steps/(?P<step>[-A-Za-z0-9_]+)/files")
_SECRET_ID = re.compile(r"w[-A-Za-z0-9_]+")
_LOOK_LIKE = "https://…/api/v1/workflows/123/steps/step-…/files"
_HOW = (
    "In Workbench open the Upload step → File-upload API, copy the Create-file URL, and paste it whole "
    f'(it looks like {_LOOK_LIKE}) into the field Host ("Create-file URL") of the connection.'
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One Upload Step of one Workbench.

    :ivar origin: scheme, host and port, such as ``https://app.workbench.example``
    :ivar workflow_id: the Workflow's number
    :ivar step_slug: the Step's slug
    """

    origin: str
    workflow_id: int
    step_slug: str

    @property
    def create_file_url(self) -> str:
        """Where a File is created (protocol section 1)."""
        return f"{self.origin}/api/v1/workflows/{self.workflow_id}/steps/{self.step_slug}/files"

    @property
    def step_url(self) -> str:
        """The page where a person sees the Step. Never a secret link."""
        return f"{self.origin}/workflows/{self.workflow_id}/"

    def page_url(self, secret_link: str | None = None) -> str:
        """The page to read the Step from; with a secret link's id it is a secret (protocol section 4)."""
        return f"{self.origin}/workflows/{secret_link or self.workflow_id}/"

    @classmethod
    def parse(cls, url: str, *, allow_http: bool = False) -> Endpoint:
        """Take a Create-file URL apart.

        :param url: as Workbench shows it; white space around it is ignored. Without a scheme it is https, or http
            on this machine and with ``allow_http``
        :param allow_http: accept ``http://`` to a host that is not this machine
        :raises ConfigurationError: it is not a Create-file URL, or it is unencrypted
        """
        url = url.strip()
        if not url:
            raise ConfigurationError(f"The Create-file URL is empty. {_HOW}")
        parts = _split(url if "://" in url else f"https://{url}")
        if parts is not None and "://" not in url and (allow_http or is_loopback(parts.hostname or "")):
            parts = parts._replace(scheme="http")
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or not is_host(parts.hostname):
            raise ConfigurationError(f"This is not a Create-file URL. {_HOW}")
        if parts.username is not None or parts.password is not None:
            raise ConfigurationError(
                "The Create-file URL must not hold a user name or password. Put the API token into the field "
                'Password ("API token").'
            )
        match = _FILES_PATH.fullmatch(parts.path)
        if match is None or parts.query or parts.fragment:
            raise ConfigurationError(f"{_why_not(parts)} {_HOW}")
        if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname):
            raise ConfigurationError(
                f"The Create-file URL is http://, so anybody between here and {parts.hostname} could read the "
                "API token. Use the https:// address; if the way there is safe, set the extra allow_http to true."
            )
        return cls(f"{parts.scheme}://{_place(parts)}", int(match["workflow"]), match["step"])

    def secret_link_id(self, text: str) -> str:
        """The id in a secret link of this Workflow: ``w…``, alone or as the whole URL.

        :raises ConfigurationError: it is not a secret link, or another host's. Never quotes the link.
        """
        text = text.strip()
        secret = text
        if "/" in text:
            parts = _split(text)
            if parts is None or not parts.hostname:
                raise ConfigurationError(f"The extra secret_link is not a URL. {_SECRET_HOW}")
            if _place(parts) != urlsplit(self.origin).netloc:
                raise ConfigurationError(
                    f"The extra secret_link is of another host ({printable(parts.hostname, 100)}) than the "
                    f"Create-file URL ({urlsplit(self.origin).netloc}). {_SECRET_HOW}"
                )
            found = re.fullmatch(r"/workflows/([^/]+)/?(?:report/?)?", parts.path)
            secret = found[1] if found else ""
        if not _SECRET_ID.fullmatch(secret):
            raise ConfigurationError(f"The extra secret_link is not a Workflow's secret link. {_SECRET_HOW}")
        return secret


_SECRET_HOW = "In Workbench open Share, and copy the Workflow's secret link (it looks like https://…/workflows/w…/)."


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - urlsplit checks the port only when it is asked for
    except ValueError:
        return None
    # urlsplit drops tabs and newlines silently, so that what is checked would not be what was pasted
    return parts if url.isprintable() and " " not in url else None


def _place(parts: SplitResult) -> str:
    """Host and port, written in one way only."""
    default = {"http": ":80", "https": ":443"}.get(parts.scheme, ":")
    return parts.netloc.lower().removesuffix(default).removesuffix(":")


def _why_not(parts: SplitResult) -> str:
    path = parts.path
    if _FILES_PATH.fullmatch(path.rstrip("/")) and path.endswith("/"):
        return "The Create-file URL ends with a slash, and Workbench's does not: remove it."
    if re.match(r"/api/v1/workflows/w[-A-Za-z0-9_]+/steps/", path):
        return "This URL has a secret link's id where the Create-file URL has the Workflow's number."
    if path.startswith("/workflows/"):
        return "This is the address of a Workflow's page, not the Create-file URL."
    if _FILES_PATH.fullmatch(path):
        return "The Create-file URL has something after …/files: remove it."
    return "This is not a Create-file URL."


def is_host(host: str) -> bool:
    """True if ``host`` can be an address or a name: HTTP libraries fail on others in ways of their own."""
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(host))
    labels = host.removesuffix(".").split(".")
    return all(map(_is_label, labels)) and len(host) <= 253


def _is_label(label: str) -> bool:
    try:
        if not label.isascii():
            # requests and aiohttp bring it along, and ask it too
            import idna

            label = idna.encode(label.lower(), strict=True, std3_rules=True).decode()
        elif label.lower().startswith("xn--"):
            import idna

            # aiohttp decodes it, by the older standard where this one fails
            try:
                idna.decode(label)
            except idna.IDNAError:
                label.encode().decode("idna")
    except UnicodeError:
        return False
    return bool(re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", label))


def is_loopback(host: str) -> bool:
    """True if ``host`` is this machine: ``localhost`` or an address of 127.0.0.0/8 or ::1."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Place(StrEnum):
    """What a host's name or address alone says about where it is. Nothing is looked up: a name is a NAME."""

    NAME = "name"
    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    METADATA = "metadata"
    NOWHERE = "nowhere"


# where clouds tell a machine its credentials: AWS, Google, Azure, Alibaba, Oracle, Tencent
_METADATA_NAMES = frozenset(
    (
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "metadata.azure.internal",
        "metadata.tencentyun.com",
        "instance-data",
        "instance-data.ec2.internal",
    )
)
_METADATA = frozenset(
    ipaddress.ip_address(address)
    for address in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
    )
)
# as distributions write them into /etc/hosts
_LOOPBACK_NAMES = frozenset(
    (
        "localhost",
        "localhost.localdomain",
        "localhost4",
        "localhost4.localdomain4",
        "localhost6",
        "localhost6.localdomain6",
        "ip6-localhost",
        "ip6-loopback",
    )
)
# private addresses of former times
_SITE_LOCAL = ipaddress.ip_network("fec0::/10")
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
# where IPv6 carries an IPv4 address in its last four bytes
_CARRIERS = tuple(map(ipaddress.ip_network, ("::/96", "::ffff:0:0/96", "64:ff9b::/96")))


def place_of(host: str) -> Place:
    """Where ``host`` is, by what is written there.

    :param host: as ``urlsplit`` has it; one that :func:`is_host` takes
    """
    name = host.lower().rstrip(".")
    address = _address(name)
    if name in _METADATA_NAMES or address in _METADATA:
        return Place.METADATA
    if address is None:
        return Place.LOOPBACK if name in _LOOPBACK_NAMES or name.endswith(".localhost") else Place.NAME
    # 0.0.0.0 is this machine to whoever connects
    if address.is_loopback or address.is_unspecified or address in _THIS_NETWORK:
        return Place.LOOPBACK
    if address.is_link_local:
        return Place.LINK_LOCAL
    if address.is_multicast or address.is_reserved:
        return Place.NOWHERE
    return Place.PUBLIC if address.is_global and address not in _SITE_LOCAL else Place.PRIVATE


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            # systems take 127.1, 2130706433 and 0x7f000001 for addresses, too
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.sixtofour:
            return address.sixtofour
        carries = int(address) > 1 and any(address in network for network in _CARRIERS)
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if carries else address
    return address
