"""The URL of a store: every form is read, whatever is wrong is refused by name, and no secret is ever shown."""

import pytest
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st

from waybill.errors import InvalidArgument
from waybill.ledger.address import Endpoint, Kind, StoreAddress, parse

SECRET = "s3cret%2Fword"
HOSTS = st.sampled_from(["localhost", "10.0.0.1", "::1", "redis-0.store.svc", "2001:db8::7"])


def shown(endpoint: Endpoint) -> str:
    return f"[{endpoint.host}]:{endpoint.port}" if ":" in endpoint.host else f"{endpoint.host}:{endpoint.port}"


def test_given_one_server_then_it_is_the_only_one() -> None:
    address = parse("redis://10.0.0.1:7000/3")
    assert (address.kind, address.seeds, address.db) == (Kind.STANDALONE, (Endpoint("10.0.0.1", 7000),), 3)
    assert address.only_url() == "redis://10.0.0.1:7000/3"


def test_given_no_host_or_port_then_the_usual_ones_are_meant() -> None:
    assert parse("redis://").only_url() == "redis://localhost:6379/0"
    assert parse("redis+sentinel://a,b:1/main").seeds == (Endpoint("a", 26379), Endpoint("b", 1))
    assert parse("redis+cluster://a,b:1").seeds == (Endpoint("a", 6379), Endpoint("b", 1))


def test_given_a_unix_socket_then_its_path_is_kept() -> None:
    assert parse("unix:///run/redis.sock").only_url() == "unix:///run/redis.sock?db=0"
    assert parse(f"unix://me:{SECRET}@/run/redis.sock?db=2").only_url() == f"unix://me:{SECRET}@/run/redis.sock?db=2"


def test_given_sentinels_then_service_database_and_both_credentials_are_read() -> None:
    address = parse(f"redis+sentinel://me:{SECRET}@a:1,b:2/main/4?sentinel_password=other%40one")
    assert (address.kind, address.service, address.db) == (Kind.SENTINEL, "main", 4)
    assert address.node_url(Endpoint("c", 3)) == f"redis://me:{SECRET}@c:3/4"
    assert address.seed_url(address.seeds[0]) == "redis://:other%40one@a:1/0"


def test_given_tls_then_every_connection_has_it_with_its_options() -> None:
    options = "ssl_ca_certs=/ca.pem&ssl_check_hostname=false"
    address = parse(f"rediss+sentinel://a:1/main?{options}&sentinel_password=x")
    assert address.node_url(Endpoint("c", 3)) == f"rediss://c:3/0?{options}"
    assert address.seed_url(address.seeds[0]) == f"rediss://:x@a:1/0?{options}"
    assert parse("rediss+cluster://a:1").node_url(Endpoint("a", 1)) == "rediss://a:1/0"


@given(st.lists(st.builds(Endpoint, HOSTS, st.integers(1, 65535)), min_size=1, max_size=5), st.booleans())
def test_given_any_servers_then_they_are_read_as_written_and_reached_so(seeds: list[Endpoint], tls: bool) -> None:
    address = parse(f"redis{'s' * tls}+cluster://me:{SECRET}@{','.join(map(shown, seeds))}")
    assert (address.seeds, address.tls) == (tuple(seeds), tls)
    for seed in seeds:
        reached = redis.asyncio.connection.parse_url(address.node_url(seed))
        assert (reached["host"], reached["port"]) == seed
        assert (reached["username"], reached["password"]) == ("me", "s3cret/word")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "its scheme is none of those known"),
        ("localhost:6379", "its scheme is none of those known"),
        ("http://localhost", "its scheme is none of those known"),
        ("redis+ring://localhost", "its scheme is none of those known"),
        ("unix://", "a Unix socket is"),
        ("unix:///run/redis.sock?db=0&protocol=3", "a Unix socket is"),
        ("redis://a,b", "several servers need"),
        ("redis://a:0", "a port from 1 to 65535"),
        ("redis://a:70000", "a port from 1 to 65535"),
        ("redis://a:port", "host or host:port"),
        ("redis://[::1", "cannot be read"),
        ("redis://a/one", "the database must be a number"),
        ("redis://a/1/2", "may follow /db and nothing else"),
        ("redis+sentinel://a:1", "must follow /service"),
        ("redis+sentinel://a:1/main/0/more", "must follow /service"),
        ("redis+sentinel://a:1/main/x", "the database must be a number"),
        ("redis+sentinel:///main", "host or host:port"),
        ("redis+sentinel://a:1,,b:2/main", "host or host:port"),
        ("redis+cluster://", "host or host:port"),
        ("redis+cluster://a:1/1", "database 0 alone"),
        ("redis://a?retry_on_timeout=true", "option retry_on_timeout is not known"),
        ("rediss://a?protocol=3", "option protocol is not known"),
        ("redis://a?ssl_ca_certs=/ca.pem", "option ssl_ca_certs is not known"),
        ("redis+cluster://a?sentinel_password=x", "option sentinel_password is not known"),
    ],
)
def test_given_a_malformed_url_then_it_is_refused_by_name(url: str, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why) as refused:
        parse(url)
    assert [violation.field for violation in refused.value.violations] == ["WAYBILL_REDIS_URL"]


@given(st.text(max_size=40))
def test_given_any_text_then_it_is_read_or_refused(text: str) -> None:
    for url in (text, f"redis://{text}", f"redis+sentinel://{text}", f"rediss+cluster://a?{text}"):
        try:
            assert isinstance(parse(url), StoreAddress)
        except InvalidArgument:
            continue


def test_no_secret_is_shown() -> None:
    address = parse(f"redis+sentinel://me:{SECRET}@a:1/main?sentinel_password={SECRET}")
    assert SECRET not in repr(address)
    with pytest.raises(InvalidArgument) as refused:
        parse(f"redis+sentinel://me:{SECRET}@a:1?sentinel_password={SECRET}")
    assert SECRET not in str(refused.value)
