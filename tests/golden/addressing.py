#!/usr/bin/env python3
"""Computes the test vectors of docs/addressing.md from that page's words, independently of the Rust code.

Writes tests/golden/addressing.json and the tables between the markers in docs/addressing.md:

    python3 tests/golden/addressing.py

The vectors are frozen: rows are added, and none is ever changed.
"""

import hmac
import ipaddress
import itertools
import json
import math
import pathlib
import re

KEY = bytes(range(32))
SHOWN = 4

ROOT = pathlib.Path(__file__).resolve().parents[2]
JSON = ROOT / "tests/golden/addressing.json"
PAGE = ROOT / "docs/addressing.md"

HMAC, TOOL = "hmac-sha512", "podman-rootful-network"

# derivation, network, owner, container, subnet, gateway, lease range
ADDRESSES = [
    (HMAC, "rootful0", 1000, "web", "10.0.0.0/8", "10.0.0.1", None),
    (HMAC, "rootful0", 1000, "web", "10.87.0.0/16", "10.87.0.1", None),
    (HMAC, "rootful0", 1001, "web", "10.87.0.0/16", "10.87.0.1", None),
    (HMAC, "rootful0", 1000, "db", "10.87.0.0/16", "10.87.0.1", None),
    (HMAC, "rootful1", 1000, "web", "10.87.0.0/16", "10.87.0.1", None),
    (HMAC, "rootful0", 1000, "web", "10.87.0.0/17", "10.87.0.1", None),
    (HMAC, "lab", 0, "db_1.x-y", "192.168.7.0/24", "192.168.7.1", None),
    (HMAC, "lab", 0, "db_1.x-y", "192.168.7.0/24", "192.168.7.100", None),
    (HMAC, "lab", 4294967295, "x" * 128, "192.168.7.0/24", "192.168.7.254",
     ("192.168.7.10", "192.168.7.19")),
    (HMAC, "a", 1000, "bc", "192.0.2.0/29", "192.0.2.3", None),
    (HMAC, "ab", 1000, "c", "192.0.2.0/29", "192.0.2.3", None),
    (HMAC, "tiny", 1000, "web", "192.0.2.252/30", "192.0.2.253", None),
    (HMAC, "lab", 1000, "web", "172.16.0.0/12", "172.16.0.1", ("172.16.0.0", "172.16.0.2")),
    (HMAC, "rootful0", 1000, "web", "fd00:1:2::/48", "fd00:1:2::1", None),
    (HMAC, "rootful0", 1000, "web", "fd00:1:2:3::/64", "fd00:1:2:3::1", None),
    (HMAC, "rootful0", 1000, "web", "fd00:1:2:3::/64", "fd00:1:2:3::1",
     ("fd00:1:2:3::100", "fd00:1:2:3::1ff")),
    (HMAC, "rootful0", 1000, "web", "2001:db8::80/122", "2001:db8::bf", None),
    (HMAC, "tiny", 1000, "web", "fd00::4/126", "fd00::5", None),
    (TOOL, "podman1", 1000, "web", "10.89.0.0/16", "10.89.0.1", None),
    (TOOL, "podman1", 1001, "web", "10.89.0.0/16", "10.89.0.1", None),
    (TOOL, "podman1", 1000, "web.service", "10.89.0.0/24", "10.89.0.1", None),
    (TOOL, "podman1", 1000, "container-web.service", "10.89.0.0/24", "10.89.0.1", None),
    (TOOL, "lan.service", 1000, "web", "10.0.0.0/8", "10.0.0.1", None),
    (TOOL, "podman1", 1000, "web", "10.89.0.0/30", "10.89.0.1", None),
    (TOOL, "podman1", 1000, "web", "10.0.0.0/8", "10.0.0.1", ("10.1.2.3", "10.1.2.6")),
    (TOOL, "podman1", 1000, "web", "fd00:1:2::/48", "fd00:1:2::1", None),
    (TOOL, "podman1", 1000, "web", "fd00:1:2:3::/64", "fd00:1:2:3::1", None),
    (TOOL, "podman1", 1000, "web", "fd00::4/126", "fd00::5", None),
]
# network, owner, container
MACS = [
    ("rootful0", 1000, "web"),
    ("rootful0", 1001, "web"),
    ("rootful1", 1000, "web"),
    ("lab", 0, "db_1.x-y"),
]
# network, owner, container, protocol, container port
PORTS = [
    ("rootful0", 1000, "web", "tcp", 80),
    ("rootful0", 1000, "web", "udp", 80),
    ("rootful0", 1000, "web", "sctp", 65535),
    ("rootful0", 1001, "web", "tcp", 80),
]
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}


def digest(tag, *fields):
    message = b""
    for field in (tag.encode(), *fields):
        message += len(field).to_bytes(4, "big") + field
    return hmac.digest(KEY, message, "sha512")


def walk(count, mac):
    start = int.from_bytes(mac[0:16], "big") % count
    step = int.from_bytes(mac[16:32], "big") % count
    while math.gcd(step, count) != 1:
        step = (step + 1) % count
    return ((start + number * step) % count for number in range(count))


def bounds(subnet, lease):
    first = int(subnet.network_address) + 1
    last = int(subnet.broadcast_address) - (1 if subnet.version == 4 else 0)
    if lease:
        first = max(first, int(ipaddress.ip_address(lease[0])))
        last = min(last, int(ipaddress.ip_address(lease[1])))
    return first, last


def hmac_addresses(network, owner, container, subnet, gateway, lease):
    mac = digest(
        "rootful-net/v1/address",
        network.encode(),
        subnet.network_address.packed + bytes([subnet.prefixlen]),
        owner.to_bytes(4, "big"),
        container.encode(),
    )
    first, last = bounds(subnet, lease)
    gateway_leased = first <= int(gateway) <= last
    for index in walk(last - first + 1 - gateway_leased, mac):
        number = first + index
        yield number + 1 if gateway_leased and number >= int(gateway) else number


def tool_addresses(network, _owner, container, subnet, gateway, lease):
    message = (container + network).removeprefix("container-").removesuffix(".service")
    mac = int.from_bytes(hmac.digest(KEY, message.encode(), "sha3_512"), "big")
    base, size = int(subnet.network_address), subnet.num_addresses
    first, last = bounds(subnet, lease)
    passed_over = int(subnet.broadcast_address)
    # Jump near a small lease range rather than count up to it.
    inverse = pow(7, -1, size)
    if lease:
        turns = sorted(
            ((number - base - mac) * inverse % size, number) for number in range(first, last + 1)
        )
        numbers = (number for _, number in turns)
    else:
        numbers = (base + (mac + 7 * turn) % size for turn in range(size))
    for number in numbers:
        if first <= number <= last and number not in (int(gateway), passed_over):
            yield number
    if first <= passed_over <= last and passed_over != int(gateway):
        yield passed_over


def address_row(derivation, network, owner, container, subnet, gateway, lease):
    net, gate = ipaddress.ip_network(subnet), ipaddress.ip_address(gateway)
    numbers = {HMAC: hmac_addresses, TOOL: tool_addresses}[derivation]
    found = itertools.islice(numbers(network, owner, container, net, gate, lease), SHOWN)
    kind = type(net.network_address)
    return {
        "derivation": derivation, "network": network, "owner": owner, "container": container,
        "subnet": subnet, "gateway": gateway, "lease_range": list(lease) if lease else None,
        "addresses": [str(kind(number)) for number in found],
    }


def mac_row(network, owner, container):
    mac = digest(
        "rootful-net/v1/mac", network.encode(), owner.to_bytes(4, "big"), container.encode()
    )
    macs = []
    for number in itertools.islice(walk(1 << 46, mac), SHOWN):
        octets = bytearray(number.to_bytes(6, "big"))
        octets[0] = octets[0] << 2 | 2
        macs.append(octets)
    first = macs[0]
    identifier = bytes([first[0] ^ 2]) + first[1:3] + b"\xff\xfe" + first[3:6]
    link_local = ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + bytes(identifier))
    return {
        "network": network, "owner": owner, "container": container,
        "macs": [mac.hex(":") for mac in macs], "link_local": str(link_local),
    }


def port_row(network, owner, container, protocol, port):
    mac = digest(
        "rootful-net/v1/port", network.encode(), owner.to_bytes(4, "big"), container.encode(),
        bytes([PROTOCOLS[protocol]]), port.to_bytes(2, "big"),
    )
    ports = [49152 + number for number in itertools.islice(walk(1 << 14, mac), SHOWN)]
    return {
        "network": network, "owner": owner, "container": container,
        "protocol": protocol, "container_port": port, "ports": ports,
    }


def table(head, rows):
    def line(cells):
        return "| " + " | ".join(str(cell) for cell in cells) + " |\n"
    return line(head) + line("---" for _ in head) + "".join(line(row) for row in rows)


def page_tables(vectors):
    # The words must be those of the Rust test that looks for every row.
    return {
        "addresses": table(
            ["derivation", "network", "owner", "container", "subnet", "gateway", "lease range",
             "first addresses"],
            [[row["derivation"], row["network"], row["owner"], row["container"], row["subnet"],
              row["gateway"], "-".join(row["lease_range"] or ["none"]),
              " ".join(row["addresses"])] for row in vectors["addresses"]]),
        "macs": table(
            ["network", "owner", "container", "first MAC addresses", "link-local address"],
            [[row["network"], row["owner"], row["container"], " ".join(row["macs"]),
              row["link_local"]] for row in vectors["macs"]]),
        "ports": table(
            ["network", "owner", "container", "container port", "first host ports"],
            [[row["network"], row["owner"], row["container"],
              f"{row['container_port']}/{row['protocol']}",
              " ".join(map(str, row["ports"]))] for row in vectors["ports"]]),
    }


def main():
    vectors = {
        "key": KEY.hex(),
        "addresses": [address_row(*row) for row in ADDRESSES],
        "macs": [mac_row(*row) for row in MACS],
        "ports": [port_row(*row) for row in PORTS],
    }
    JSON.write_text(json.dumps(vectors, indent=2) + "\n")
    page = PAGE.read_text()
    for name, text in page_tables(vectors).items():
        page, found = re.subn(
            f"(<!-- {name}: .*? -->\n).*?(<!-- end -->)",
            lambda match: match[1] + "\n" + text + "\n" + match[2],
            page, flags=re.DOTALL)
        assert found == 1, f"docs/addressing.md has no place for the {name}"
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
