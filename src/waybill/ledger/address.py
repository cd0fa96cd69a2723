"""The URL of a store, read: which kind of store it is, whom to ask for it, and how to connect to its nodes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from waybill.errors import InvalidArgument

FIELD = "WAYBILL_REDIS_URL"
TLS_OPTIONS = frozenset(
    {
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
        "ssl_min_version",
        "ssl_password",
    }
)
"""What may follow `?` in the URL of a TLS store; each is passed on to the client library."""
SENTINEL_OPTIONS = frozenset({"sentinel_username", "sentinel_password"})
_NODE = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/@,\s]+)(?::(?P<port>\d{1,5}))?")
_FORMS = (
    "redis://[user:password@]host[:port][/db], unix://path, redis+sentinel://host[:port],host[:port]/service[/db] or "
    "redis+cluster://host[:port],host[:port]; rediss instead of redis for TLS"
)


class Kind(StrEnum):
    """How a store is arranged."""

    STANDALONE = "standalone"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


class Endpoint(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A store's URL, read. Credentials stand percent-encoded, as they were written, and are never shown."""

    kind: Kind
    seeds: tuple[Endpoint, ...]
    """Servers to ask: the Sentinels, or any nodes of the cluster, or the one server."""
    tls: bool = False
    service: str = ""
    """Name under which the Sentinels watch the master."""
    db: int = 0
    credentials: str = field(default="", repr=False)
    """`user:password`, of the nodes."""
    options: str = field(default="", repr=False)
    """TLS options, as a query string."""
    sentinel_credentials: str = field(default="", repr=False)
    """`user:password`, of the Sentinels themselves."""
    path: str = ""
    """Path of a Unix socket; then there are no seeds."""

    def node_url(self, endpoint: Endpoint) -> str:
        """The client library's URL for one node of this store."""
        return self._url(endpoint, self.credentials, self.db)

    def seed_url(self, endpoint: Endpoint) -> str:
        """The client library's URL for one of the seeds; Sentinels have no databases and credentials of their own."""
        if self.kind is Kind.SENTINEL:
            return self._url(endpoint, self.sentinel_credentials, 0)
        return self.node_url(endpoint)

    def only_url(self) -> str:
        """The client library's URL of a store that is one server."""
        if self.path:
            return f"unix://{self.credentials and self.credentials + '@'}{self.path}?db={self.db}"
        return self.node_url(self.seeds[0])

    def _url(self, endpoint: Endpoint, credentials: str, db: int) -> str:
        scheme = "rediss" if self.tls else "redis"
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        login = credentials and credentials + "@"
        options = self.options and "?" + self.options
        return f"{scheme}://{login}{host}:{endpoint.port}/{db}{options}"


def parse(url: str) -> StoreAddress:
    """Read a store's URL. Raises InvalidArgument, which says what is wrong and never shows the URL itself."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _refused(f"it cannot be read: {_FORMS}") from error
    if parts.scheme == "unix":
        return _unix(parts)
    security, _, kind = parts.scheme.partition("+")
    if security not in ("redis", "rediss") or kind not in ("", Kind.SENTINEL, Kind.CLUSTER):
        raise _refused(f"its scheme is none of those known: {_FORMS}")
    found = Kind(kind or Kind.STANDALONE)
    credentials, _, nodes = parts.netloc.rpartition("@")
    service, db = _place(parts, found)
    return StoreAddress(
        kind=found,
        seeds=_seeds(nodes, found),
        tls=security == "rediss",
        service=service,
        db=db,
        credentials=credentials,
        options=_options(parts, TLS_OPTIONS if security == "rediss" else frozenset(), found),
        sentinel_credentials=_sentinel_credentials(parts),
    )


def _unix(parts: SplitResult) -> StoreAddress:
    query = parse_qs(parts.query)
    if not parts.path or query.keys() - {"db"}:
        raise _refused("a Unix socket is unix://[user:password@]/path[?db=number]")
    credentials = parts.netloc.rpartition("@")[0]
    return StoreAddress(
        Kind.STANDALONE, (), db=_database(query.get("db", ["0"])[0]), credentials=credentials, path=parts.path
    )


def _seeds(nodes: str, kind: Kind) -> tuple[Endpoint, ...]:
    default_port = 26379 if kind is Kind.SENTINEL else 6379
    seeds = []
    for node in nodes.split(",") if nodes or kind is not Kind.STANDALONE else ["localhost"]:
        match = _NODE.fullmatch(node)
        port = int(match["port"] or default_port) if match else 0
        if match is None or not 0 < port <= 65535:
            raise _refused("each server must be host or host:port, with a port from 1 to 65535")
        seeds.append(Endpoint(match["host"].strip("[]"), port))
    if kind is Kind.STANDALONE and len(seeds) > 1:
        raise _refused("several servers need redis+sentinel:// or redis+cluster://")
    return tuple(seeds)


def _place(parts: SplitResult, kind: Kind) -> tuple[str, int]:
    """The service name and the database that the path names."""
    names = [unquote(name) for name in parts.path.split("/")[1:] if name]
    if kind is Kind.SENTINEL:
        if not 1 <= len(names) <= 2:
            raise _refused("after the Sentinels must follow /service or /service/db")
        return names[0], _database(names[1] if len(names) == 2 else "0")
    if len(names) > 1:
        raise _refused("after the server may follow /db and nothing else")
    db = _database(names[0] if names else "0")
    if kind is Kind.CLUSTER and db != 0:
        raise _refused("a cluster has database 0 alone")
    return "", db


def _database(text: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text):
        raise _refused("the database must be a number")
    return int(text)


def _options(parts: SplitResult, allowed: frozenset[str], kind: Kind) -> str:
    pairs = [pair for pair in parts.query.split("&") if pair]
    names = {pair.partition("=")[0] for pair in pairs}
    known = allowed | (SENTINEL_OPTIONS if kind is Kind.SENTINEL else frozenset())
    if unknown := sorted(names - known):
        # The client library would take many more from here, some of which make it repeat calls.
        raise _refused(f"the option {unknown[0]} is not known here; these are: {', '.join(sorted(known)) or 'none'}")
    return "&".join(pair for pair in pairs if pair.partition("=")[0] in allowed)


def _sentinel_credentials(parts: SplitResult) -> str:
    query = parse_qs(parts.query)
    given = [quote(query.get(name, [""])[0], safe="") for name in ("sentinel_username", "sentinel_password")]
    return ":".join(given) if any(given) else ""


def _refused(why: str) -> InvalidArgument:
    return InvalidArgument.of_field(FIELD, why)
