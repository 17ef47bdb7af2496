"""What a task may give to upload becomes a source of the client's: addresses of storages are read with a connection."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from airflow_provider_workbench.client.errors import ConfigurationError, SourceError, SourceNotAllowedError, printable

if TYPE_CHECKING:
    from airflow_provider_workbench.client.allowed_roots import AllowedRoots
    from airflow_provider_workbench.client.sources import Source

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_LOCAL = ("file", "local")
_AZURE = ("abfs", "abfss", "adl")
# distributions whose file systems Airflow knows by these schemes, with the extra that brings the library
_PACKAGES = {
    "s3": "apache-airflow-providers-amazon[s3fs]",
    "s3a": "apache-airflow-providers-amazon[s3fs]",
    "s3n": "apache-airflow-providers-amazon[s3fs]",
    "gs": "apache-airflow-providers-google",
    "gcs": "apache-airflow-providers-google",
    "abfs": "apache-airflow-providers-microsoft-azure",
    "abfss": "apache-airflow-providers-microsoft-azure",
    "adl": "apache-airflow-providers-microsoft-azure",
    "sftp": "apache-airflow-providers-sftp[sshfs]",
    "ssh": "apache-airflow-providers-sftp[sshfs]",
}


def open_any(what: Any, source_conn_id: str | None = None, allowed_roots: Any = None) -> Source:
    """Open what should be uploaded.

    Text with a scheme is an address. ``s3://conn_id@bucket/key`` is read by Airflow's file system for the scheme; a
    scheme that no provider brings (such as ``https``) by fsspec's, which knows no connections.

    :param what: a path on this machine, such an address, an ``ObjectStoragePath`` or ``UPath``, bytes, or an opened
        source
    :param source_conn_id: the connection for an address, or an ``ObjectStoragePath``, that names none
    :param allowed_roots: where a path or an address may lead (see
        :meth:`~airflow_provider_workbench.client.allowed_roots.AllowedRoots.parse`); None for anywhere
    :raises ConfigurationError: nothing reads such an address, or its connection does not exist
    :raises SourceNotAllowedError: it is in none of ``allowed_roots``; nothing was read
    :raises SourceError: it cannot be read; nothing was sent
    """
    from airflow_provider_workbench.client.sources import open_source

    allowed = _parsed(allowed_roots, source_conn_id)
    if isinstance(what, str) and (address := _ADDRESS.fullmatch(what)):
        scheme, rest = address[1].lower(), address[2]
        if scheme in _LOCAL:
            return open_source(_local_path(rest), allowed)
        return _open_address(scheme, rest, source_conn_id, allowed)
    if source_conn_id and _names_no_connection(what):
        what = type(what)(str(what), conn_id=source_conn_id)
    return _open_path(what, allowed)


def _parsed(allowed_roots: Any, source_conn_id: str | None) -> AllowedRoots | None:
    if allowed_roots is None:
        return None
    from airflow_provider_workbench.client.allowed_roots import AllowedRoots

    return AllowedRoots.parse(allowed_roots, source_conn_id)


def _local_path(rest: str) -> str:
    """``file://`` may have a connection, as ``ObjectStoragePath`` writes it, or a host; neither means anything."""
    host, slash, path = rest.partition("/")
    return f"{slash}{path}" if slash and (host in ("", "localhost") or host.endswith("@")) else rest


def _open_address(scheme: str, rest: str, source_conn_id: str | None, allowed: AllowedRoots | None) -> Source:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_workbench.client.object_source import check_length, holds_credentials, shown_address

    address = f"{scheme}://{rest}"
    check_length(address)
    shown = shown_address(address)
    host, slash, key = rest.partition("/")
    user, _, bucket = host.rpartition("@")
    reads = _airflow_reads(scheme)
    if allowed is not None:
        by_connection = reads or scheme in _PACKAGES
        allowed.check_address(address, (user or source_conn_id) if by_connection else None, shown)
    _check_place(scheme, host)
    if (reads or scheme in _PACKAGES) and holds_credentials(address):
        raise ConfigurationError(
            f"The address {shown} has a user and a password in it. Put them into an Airflow connection, and name it: "
            f"{scheme}://connection_id@bucket/key, or by source_conn_id."
        )
    if not reads:
        if scheme in _PACKAGES and (user or source_conn_id):
            raise ConfigurationError(_install(scheme, shown))
        if source_conn_id:
            raise ConfigurationError(
                f"No installed provider reads {scheme}:// with an Airflow connection: leave out source_conn_id."
            )
        return _open_with_fsspec(scheme, address, shown, allowed)
    path = None
    # what it takes for no URL
    with contextlib.suppress(ValueError):
        path = ObjectStoragePath(f"{scheme}://{bucket}{slash}{key}", conn_id=user or source_conn_id)
    if path is None:
        raise SourceError(f"{shown} cannot be read: it is no address of an object. Is it spelled right?")
    return _open_path(path, allowed)


def _check_place(scheme: str, place: str) -> None:
    """
    :raises ConfigurationError: it is container@account, which Airflow would read as connection@container
    """
    from airflow_provider_workbench.client.object_source import is_azure_account

    if scheme in _AZURE and is_azure_account(place.rpartition("@")[2]):
        raise ConfigurationError(
            f"This {scheme}:// address names an Azure storage account. Write {scheme}://connection_id@container/key: "
            "the account belongs to the connection."
        )


def _open_with_fsspec(scheme: str, address: str, shown: str, allowed: AllowedRoots | None) -> Source:
    from fsspec.core import url_to_fs

    from airflow_provider_workbench.client.object_failures import source_error
    from airflow_provider_workbench.client.object_source import ObjectSource, secrets_of
    from airflow_provider_workbench.hooks.masking import mask

    mask(secrets_of(address))
    problem: ConfigurationError | SourceError | None = None
    try:
        fs, path = url_to_fs(address)
    except ImportError:
        problem = ConfigurationError(_install(scheme, shown))
    except ValueError:
        problem = ConfigurationError(f"Nothing that is installed reads {scheme}://: is {shown} spelled right?")
    except Exception as error:
        problem = source_error(error, shown)
    if problem:
        raise problem
    if allowed is not None:
        allowed.check_reached(address, path, shown)
    return ObjectSource(fs, path)


def _open_path(what: Any, allowed: AllowedRoots | None) -> Source:
    """
    :raises ConfigurationError: its package, or its connection, is missing
    """
    from airflow_provider_workbench.client.object_source import connection_of, shown_address
    from airflow_provider_workbench.client.sources import open_source

    if hasattr(type(what), "fs"):
        if allowed is not None and what.protocol not in ("", *_LOCAL):
            # before its file system is made, which may ask the storage for a login
            address, conn_id = str(what), connection_of(what)
            allowed.check_address(address, conn_id, shown_address(address, conn_id))
        _check_file_system(what)
    failure = None
    try:
        return open_source(what, allowed)
    except SourceNotAllowedError:
        raise
    except SourceError as error:
        failure = error
    conn_id = connection_of(what)
    if conn_id and not _exists(conn_id):
        # S3's file system then takes what the machine has, which may do: only a failure makes it an error
        raise ConfigurationError(f"There is no Airflow connection {printable(conn_id)!r}. {failure}")
    raise failure


def _check_file_system(path: Any) -> None:
    scheme = getattr(path, "protocol", None)
    missing = False
    try:
        _ = path.fs
    except ImportError:
        missing = True
    except ValueError:
        missing = isinstance(scheme, str) and not _airflow_reads(scheme)
    except Exception:
        # whoever opens it says what happened
        return
    if missing:
        raise ConfigurationError(_install(str(scheme), f"{scheme}://"))


def _airflow_reads(scheme: str) -> bool:
    try:
        from airflow.sdk import io
    except ImportError:
        from airflow import io  # type: ignore[no-redef]
    return bool(io.has_fs(scheme))


def _names_no_connection(what: Any) -> bool:
    from airflow_provider_workbench.client.object_source import connection_of

    made_by_airflow = any(cls.__name__ == "ObjectStoragePath" for cls in type(what).__mro__)
    return made_by_airflow and what.protocol not in ("", *_LOCAL) and connection_of(what) is None


def _exists(conn_id: str) -> bool:
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

    try:
        BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return False
    except Exception:
        # nobody knows, and the other error says more
        return True
    return True


def _install(scheme: str, shown: str) -> str:
    package = _PACKAGES.get(scheme)
    what = f"{package} is" if package else f"A package with fsspec's file system for {scheme}:// is"
    return f"Nothing that is installed reads {shown}: {what} needed on the worker."
