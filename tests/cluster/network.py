"""Addresses and ports of this machine, and small questions to what listens on them."""

import fcntl
import http.client
import random
import socket
import ssl
import struct
import urllib.error
import urllib.request

SIOCGIFADDR = 0x8915
# Under the range that Linux takes the local ports of outgoing connections from, so that none of those gets in the way.
FIRST_PORT, LAST_PORT = 10000, 32000


def own_address():
    """An IPv4 address of this machine that is not loopback, which an EndpointSlice would refuse; None without one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing: connecting a datagram socket only chooses the route.
            probe.connect(("198.51.100.1", 9))
            return probe.getsockname()[0]
        except OSError:
            pass  # no default route, as in a sandbox
        for _, interface in socket.if_nameindex():
            try:
                request = struct.pack("256s", interface.encode()[:15])
                address = socket.inet_ntoa(fcntl.ioctl(probe, SIOCGIFADDR, request)[20:24])
            except OSError:
                continue  # an interface without an IPv4 address
            if not address.startswith("127."):
                return address
    return None


def own_address6():
    """A global IPv6 address of this machine, which an EndpointSlice takes; None without one."""
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as table:
            rows = [line.split() for line in table]
    except OSError:
        return None  # a kernel without IPv6
    for digits, _, _, scope, *_ in rows:
        if scope == "00":
            return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
    return None


def free_ports(names):
    """A free port for each name. Another program may take one before we do; whoever starts a cluster tries again."""
    held = []
    try:
        while len(held) < len(names) * 2:
            port = random.randint(FIRST_PORT, LAST_PORT)
            pair = []
            try:
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    pair.append(socket.socket(socket.AF_INET, kind))
                    pair[-1].bind(("0.0.0.0", port))
                held += pair
            except OSError:
                for taken in pair:
                    taken.close()
        return {name: held[2 * index].getsockname()[1] for index, name in enumerate(names)}
    finally:
        for holder in held:
            holder.close()


def get(url, authority=None, token=None, host=None):
    """Status and body of a GET, or None where nobody answers. No proxy of the environment is asked."""
    context = ssl.create_default_context(cafile=authority) if authority else None
    handlers = [urllib.request.ProxyHandler({})]
    if context:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if host:
        request.add_header("Host", host)
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=2) as response:
            return response.status, response.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None


def answers_connections(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False
