"""IP addresses, networks and URLs: k8s.io/apiserver/pkg/cel/library ip, cidr, urls."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs, quote, unquote_to_bytes, urlsplit

from aliquot.cel.declarations import Library
from aliquot.cel.errors import EvaluationError
from aliquot.cel.patterns import compile_pattern
from aliquot.cel.typesystem import opaque, struct
from aliquot.cel.values import ExtensionValue

__all__ = ["NETWORK", "URL", "URLS", "IPAddress", "Network"]

_MAX_ADDRESS: Final = 64
_MAX_URL: Final = 65536


@dataclass(frozen=True, slots=True)
class IPAddress(ExtensionValue):
    """An IPv4 or IPv6 address."""

    cel_name: ClassVar[str] = "net.IP"
    go_name: ClassVar[str] = "cel.IP"

    address: IPv4Address | IPv6Address

    @property
    def cel_size(self) -> int:
        return 4 if self.address.version == 4 else 16

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class Network(ExtensionValue):
    """An address with the length of its network's prefix; bits of the host are kept."""

    cel_name: ClassVar[str] = "net.CIDR"
    go_name: ClassVar[str] = "cel.CIDR"

    address: IPv4Address | IPv6Address
    prefix: int

    @property
    def cel_size(self) -> int:
        return -(-self.prefix // 8)

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix}"

    def covers(self, address: IPv4Address | IPv6Address) -> bool:
        if address.version != self.address.version:
            return False
        shift = self.address.max_prefixlen - self.prefix
        return int(self.address) >> shift == int(address) >> shift


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        if len(text) > _MAX_ADDRESS:
            raise ValueError("too long")
        address = ip_address(text)
    except ValueError as error:
        raise EvaluationError(
            f'IP Address "{text[:_MAX_ADDRESS]}" parse error during conversion from string: {error}'
        ) from None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise EvaluationError(f'IP address "{text}" with zone value is not allowed')
        if address.ipv4_mapped is not None:
            raise EvaluationError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return address


def _ip(text: str) -> IPAddress:
    return IPAddress(_address(text))


def _cidr(text: str) -> Network:
    base, slash, digits = text.partition("/")
    failure = f'network address parse error during conversion from string: "{text[:_MAX_ADDRESS]}"'
    if not slash or not digits.isascii() or not digits.isdigit() or len(digits) > 3:
        raise EvaluationError(f"{failure}: bad bits after slash")
    if len(digits) > 1 and digits[0] == "0":
        raise EvaluationError(f"{failure}: bad bits after slash")
    address = _address(base)
    if int(digits) > address.max_prefixlen:
        raise EvaluationError(f"{failure}: prefix length out of range")
    return Network(address, int(digits))


def _succeeds(parse: Any) -> Any:
    def test(text: str) -> bool:
        try:
            parse(text)
        except EvaluationError:
            return False
        return True

    return test


def _is_global_unicast(address: IPv4Address | IPv6Address) -> bool:
    if address.version == 4 and int(address) == 0xFFFFFFFF:
        return False
    return not (
        address.is_unspecified or address.is_loopback or address.is_multicast or _is_link_local(address)
    )


def _is_link_local(address: IPv4Address | IPv6Address) -> bool:
    if address.version == 4:
        return int(address) >> 16 == 0xA9FE
    return int(address) >> 118 == 0xFE80 >> 6


def _is_link_local_multicast(address: IPv4Address | IPv6Address) -> bool:
    if address.version == 4:
        return int(address) >> 8 == 0xE00000
    return int(address) >> 120 == 0xFF and (int(address) >> 112) & 0x0F == 0x02


def _covers(network: Network, other: Network) -> bool:
    return other.prefix >= network.prefix and network.covers(other.address)


def _masked(network: Network) -> Network:
    shift = network.address.max_prefixlen - network.prefix
    return Network(type(network.address)(int(network.address) >> shift << shift), network.prefix)


def _network_library() -> Library:
    ip, cidr = "%net.IP", "%net.CIDR"
    library = Library(types={"net.IP": opaque("net.IP"), "net.CIDR": opaque("net.CIDR")})
    library.free("ip", "string_to_ip", f"string -> {ip}", _ip)
    library.free("isIP", "is_ip", "string -> bool", _succeeds(_address))
    library.free(
        "ip.isCanonical", "ip_is_canonical", "string -> bool", lambda text: str(_address(text)) == text
    )
    library.member("family", "ip_family", f"{ip} -> int", lambda value: value.address.version)
    tests: dict[str, tuple[str, Any]] = {
        "isUnspecified": ("ip_is_unspecified", lambda address: address.is_unspecified),
        "isLoopback": ("ip_is_loopback", lambda address: address.is_loopback),
        "isLinkLocalMulticast": ("ip_is_link_local_multicast", _is_link_local_multicast),
        "isLinkLocalUnicast": ("ip_is_link_local_unicast", _is_link_local),
        "isGlobalUnicast": ("ip_is_global_unicast", _is_global_unicast),
    }
    for name, (identifier, test) in tests.items():
        library.member(name, identifier, f"{ip} -> bool", _of_address(test))
    library.free("string", "ip_to_string", f"{ip} -> string", str)
    library.free("cidr", "string_to_cidr", f"string -> {cidr}", _cidr)
    library.free("isCIDR", "is_cidr", "string -> bool", _succeeds(_cidr))
    library.member(
        "containsIP",
        "cidr_contains_ip_string",
        f"{cidr}, string -> bool",
        lambda network, text: network.covers(_address(text)),
    )
    library.member(
        "containsIP",
        "cidr_contains_ip_ip",
        f"{cidr}, {ip} -> bool",
        lambda network, value: network.covers(value.address),
    )
    library.member(
        "containsCIDR",
        "cidr_contains_cidr_string",
        f"{cidr}, string -> bool",
        lambda network, text: _covers(network, _cidr(text)),
    )
    library.member("containsCIDR", "cidr_contains_cidr", f"{cidr}, {cidr} -> bool", _covers)
    library.member("ip", "cidr_ip", f"{cidr} -> {ip}", lambda network: IPAddress(network.address))
    library.member("prefixLength", "cidr_prefix_length", f"{cidr} -> int", lambda network: network.prefix)
    library.member("masked", "cidr_masked", f"{cidr} -> {cidr}", _masked)
    library.free("string", "cidr_to_string", f"{cidr} -> string", str)
    return library


def _of_address(test: Any) -> Any:
    return lambda value: bool(test(value.address))


@dataclass(frozen=True, slots=True)
class URL(ExtensionValue):
    """An absolute URL or path, in its parts; `path` is escaped, `host` has the port."""

    cel_name: ClassVar[str] = "kubernetes.URL"
    go_name: ClassVar[str] = "cel.URL"

    text: str
    scheme: str
    host: str
    hostname: str
    port: str
    path: str
    query: str

    def __str__(self) -> str:
        return self.text


_FORBIDDEN: Final = r"[\x00-\x20\x7f]"
_SCHEME: Final = r"^[a-zA-Z][a-zA-Z0-9+.-]*:"
_BAD_ESCAPE: Final = r"%(?:[^0-9a-fA-F]|$|[0-9a-fA-F](?:[^0-9a-fA-F]|$))"
_HOST: Final = r"^(?:\[[0-9a-fA-F:.]+(?:%25[^\]]*)?\]|[^\[\]:/?#@<>\"\\^`{|} ]*)(?::[0-9]*)?$"


def _found(pattern: str, text: str) -> bool:
    return compile_pattern(pattern).search(text) is not None


def _invalid(text: str, reason: str) -> EvaluationError:
    return EvaluationError(f'URL parse error during conversion from string: parse "{text[:200]}": {reason}')


def _url(text: str) -> URL:
    if len(text) > _MAX_URL:
        raise _invalid(text, "too long")
    if not text:
        raise _invalid(text, "empty url")
    if _found(_FORBIDDEN, text.replace(" ", "")):
        raise _invalid(text, "net/url: invalid control character in URL")
    scheme = ""
    rest = text
    if _found(_SCHEME, text):
        scheme, _, rest = text.partition(":")
    elif text.startswith(":"):
        raise _invalid(text, "missing protocol scheme")
    if not rest.startswith("/") and (not scheme or not rest):
        raise _invalid(text, "invalid URI for request")
    if not rest.startswith("/"):
        # Opaque, such as mailto:someone.
        return URL(text, scheme.lower(), "", "", "", "", rest.partition("#")[0].partition("?")[2])
    try:
        split = urlsplit(rest)
        host = split.netloc.rpartition("@")[2]
        if not _found(_HOST, host):
            raise _invalid(text, f'invalid character in host name "{host}"')
        hostname, port = _host_and_port(host)
    except ValueError as error:
        raise _invalid(text, str(error)) from None
    if _found(_BAD_ESCAPE, split.path) or _found(_BAD_ESCAPE, host):
        raise _invalid(text, "invalid URL escape")
    path = _escaped(split.path)
    return URL(text, scheme.lower(), _unescaped(host), _unescaped(hostname), port, path, split.query)


def _host_and_port(host: str) -> tuple[str, str]:
    if host.startswith("["):
        inner, _, rest = host[1:].partition("]")
        return inner, rest.removeprefix(":")
    name, _, port = host.partition(":")
    return name, port


def _unescaped(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace")


def _escaped(path: str) -> str:
    """The path as written if that is a valid escaping, else escaped."""
    return quote(path, safe="/%:@!$&'()*+,;=-._~[]")


def _query(url: URL) -> dict[str, list[str]]:
    return parse_qs(url.query, keep_blank_values=True, max_num_fields=10_000)


def _url_library() -> Library:
    name = URL.cel_name
    library = Library(types={name: struct(name)})
    library.free("url", "string_to_url", f"string -> {name}", _url)
    library.free("isURL", "is_url_string", "string -> bool", _succeeds(_url))
    library.member("getScheme", "url_get_scheme", f"{name} -> string", lambda url: url.scheme)
    library.member("getHost", "url_get_host", f"{name} -> string", lambda url: url.host)
    library.member("getHostname", "url_get_hostname", f"{name} -> string", lambda url: url.hostname)
    library.member("getPort", "url_get_port", f"{name} -> string", lambda url: url.port)
    library.member("getEscapedPath", "url_get_escaped_path", f"{name} -> string", lambda url: url.path)
    library.member("getQuery", "url_get_query", f"{name} -> map<string, list<string>>", _query)
    return library


NETWORK: Final = _network_library()
URLS: Final = _url_library()
