"""Which URLs and addresses the door lets through."""

from __future__ import annotations

import ast
import inspect
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.outbound import addresses
from integrations.outbound.addresses import AllowedHosts, Origin, check_url, is_public_address
from integrations.outbound.errors import AddressRefused


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104  # judged, not bound
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",  # carrier-grade NAT
        "100.100.100.200",  # a cloud's metadata
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",  # most clouds' metadata
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.9",  # a protocol assignment that counts as global
        "192.0.2.1",
        "192.88.99.1",  # 6to4 relay
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::8.8.8.8",  # IPv4-compatible, even of a public address
        "::127.0.0.1",
        "::ffff:127.0.0.1",  # IPv4-mapped
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:8.8.8.8",  # IPv4-translated
        "64:ff9b::8.8.8.8",  # NAT64
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",
        "100::1",
        "2001::1",  # Teredo
        "2001:0:7f00:1::",
        "2001:10::1",
        "2001:20::1",
        "2001:2::1",
        "2001:db8::1",
        "2002:7f00:1::",  # 6to4 of 127.0.0.1
        "2002:808:808::",  # 6to4 of 8.8.8.8
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",  # a cloud's metadata
        "fe80::1",
        "fe80::1%eth0",
        "2606:4700:4700::1111%eth0",  # a scope makes it local
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ],
)
def test_addresses_off_the_public_internet(address: str) -> None:
    assert not is_public_address(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "223.255.255.255",
        "::ffff:8.8.8.8",  # mapped: judged by what it maps
        "2606:4700:4700::1111",
        "2a00:1450:4001:82a::200e",
    ],
)
def test_addresses_on_the_public_internet(address: str) -> None:
    assert is_public_address(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://as.example/t", "https://"),
        ("HTTP://as.example/t", "https://"),
        ("ftp://as.example/t", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("gopher://as.example", "must begin with https://"),
        ("//as.example/t", "must begin with https://"),
        ("as.example/t", "must begin with https://"),
        ("https:as.example", "must begin with https://"),
        ("https://", "must begin with https://"),
        ("https:///t", "must begin with https://"),
        ("", "must begin with https://"),
        ("https://user@as.example/t", "user name or password"),
        ("https://user:pw@as.example/t", "user name or password"),
        ("https://as.example@10.0.0.1/t", "user name or password"),
        ("https://@as.example/t", "user name or password"),
        ("https://as.example/t#x", "fragment"),
        ("https://as.example/t#", "fragment"),
        ("https://as.example\\@10.0.0.1/", "backslashes"),
        ("https://as.example/ t", "spaces"),
        ("https://as.exa\tmple/t", "spaces"),
        ("https://as.example/\n", "spaces"),
        (" https://as.example/", "spaces"),
        ("https://as.example/\u202ex", "spaces"),
        ("https://as.example:0/", "port"),
        ("https://as.example:/", "port"),
        ("https://as.example:99999/", "valid URL"),
        ("https://as.example:x/", "valid URL"),
        ("https://[::1/", "valid URL"),
        ("https://127.0.0.1/", "not on the public internet"),
        ("https://127.0.0.1./", "not on the public internet"),  # trailing dot
        ("https://10.1.2.3:8443/", "not on the public internet"),
        ("https://169.254.169.254/latest/meta-data/", "not on the public internet"),
        ("https://[::1]/", "not on the public internet"),
        ("https://[::ffff:127.0.0.1]/", "not on the public internet"),
        ("https://[::ffff:7f00:1]/", "not on the public internet"),
        ("https://[64:ff9b::a00:1]/", "not on the public internet"),
        ("https://[2002:7f00:1::]/", "not on the public internet"),
        ("https://[fe80::1%25eth0]/", "network interface"),
        ("https://2130706433/", "unusual spelling"),  # decimal
        ("https://0x7f000001/", "unusual spelling"),  # hexadecimal
        ("https://017700000001/", "unusual spelling"),  # octal
        ("https://0177.0.0.1/", "unusual spelling"),
        ("https://0x7f.0.0.1/", "unusual spelling"),
        ("https://127.1/", "unusual spelling"),
        ("https://127.0.1/", "unusual spelling"),
        ("https://134744072/", "unusual spelling"),  # 8.8.8.8, too
        ("https://1.2.3.4.5/", "unusual spelling"),
        ("https://as.example.0x7f/", "unusual spelling"),  # a last label that is a number
        ("https://①②⑦.⓪.⓪.①/", "not on the public internet"),  # digits that normalise
        ("https://127。0。0。1/", "not on the public internet"),  # ideographic full stops
        ("https://localhost/", "this machine"),
        ("https://LOCALHOST./", "this machine"),
        ("https://x.localhost/", "this machine"),
        ("https://as..example/", "valid host"),
        ("https://-as.example/", "valid host"),
        ("https://as.exa%6dple/", "valid host"),
        ("https://as.example;x/", "valid host"),
        ("https://.example/", "valid host"),
        ("https://\u202eas.example/", "spaces"),
        ("https://" + "a" * 64 + ".example/", "valid host"),
        ("https://as.example/" + "x" * 2000, "longer than"),
    ],
)
def test_urls_that_are_refused_say_why(url: str, why: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        check_url(url)
    assert why in caught.value.message
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://as.example", Origin("https", "as.example", 443)),
        ("https://AS.Example:8443/t?x=1", Origin("https", "as.example", 8443)),
        ("https://as.example./t", Origin("https", "as.example.", 443)),
        ("https://bücher.example/t", Origin("https", "xn--bcher-kva.example", 443)),
        ("https://BÜCHER.example/t", Origin("https", "xn--bcher-kva.example", 443)),
        ("https://as_1.example/t", Origin("https", "as_1.example", 443)),
        ("https://8.8.8.8/t", Origin("https", "8.8.8.8", 443)),
        ("https://[2606:4700:4700::1111]/t", Origin("https", "2606:4700:4700::1111", 443)),
        ("https://3com.example/t", Origin("https", "3com.example", 443)),
        ("https://as.example/a@b", Origin("https", "as.example", 443)),  # an @ in the path
    ],
)
def test_urls_that_pass(url: str, origin: Origin) -> None:
    assert check_url(url) == origin


def test_an_allowed_host_may_be_private_and_plain() -> None:
    hosts = AllowedHosts(["127.0.0.1:8001", "[::1]:8001", "Sandbox.Internal", "localhost:9000"])
    for url in (
        "http://127.0.0.1:8001/t",
        "https://127.0.0.1:8001/t",
        "http://[::1]:8001/",
        "http://sandbox.internal/t",
        "https://sandbox.internal/t",
        "http://localhost:9000/",
    ):
        check_url(url, allowed_hosts=hosts)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8002/t",
        "http://127.0.0.1/t",
        "http://127.0.0.2:8001/t",
        "http://sandbox.internal:8080/t",
        "http://x.sandbox.internal/t",
        "http://user@127.0.0.1:8001/t",
        "http://127.0.0.1:8001/t#x",
        "http://2130706433:8001/",
    ],
)
def test_an_allowed_host_opens_nothing_else(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(url, allowed_hosts=AllowedHosts(["127.0.0.1:8001", "sandbox.internal"]))


def test_allowed_hosts_are_values() -> None:
    assert AllowedHosts(["A:1 ", "b:2", ""]) == AllowedHosts(["b:2", "a:1"])
    assert hash(AllowedHosts(["a:1"])) == hash(AllowedHosts(["A:1"]))
    check_url("http://a:1/", allowed_hosts=["a:1"])


@pytest.mark.parametrize(
    ("url", "header"),
    [
        ("https://as.example/", "as.example"),
        ("https://as.example:8443/", "as.example:8443"),
        ("https://[2606:4700:4700::1111]/", "[2606:4700:4700::1111]"),
    ],
)
def test_the_host_header_names_only_unusual_ports(url: str, header: str) -> None:
    assert check_url(url).host_header == header


@given(st.text(max_size=60) | st.text(max_size=40).map(lambda text: "https://" + text))
def test_no_text_raises_anything_but_address_refused(url: str) -> None:
    try:
        origin = check_url(url)
    except AddressRefused:
        return
    assert origin.scheme == "https"
    assert origin.host.isascii()


@given(st.ip_addresses(v=4))
def test_an_address_smuggled_in_ipv6_is_never_more_public_than_itself(address: ipaddress.IPv4Address) -> None:
    bits = int(address)
    wrapped = ["::", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::"]
    for prefix in wrapped:
        assert not is_public_address(ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | bits))
    six_to_four = ipaddress.IPv6Address(int(ipaddress.IPv6Address("2002::")) | bits << 80)
    assert not is_public_address(six_to_four)
    mapped = ipaddress.IPv6Address(int(ipaddress.IPv6Address("::ffff:0:0")) | bits)
    assert is_public_address(mapped) == is_public_address(address)


def test_the_module_is_pure() -> None:
    imported = {
        name
        for node in ast.walk(ast.parse(inspect.getsource(addresses)))
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
        + ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
    }
    assert not {name.partition(".")[0] for name in imported} & {"django", "socket", "requests", "urllib3"}
