"""Refuse and note every connection of a Python process that leaves here.

Python imports this file at start where its folder is on PYTHONPATH. Only the
loopback interface stays open: Jupyter kernels and local test servers need it.
"""

import ipaddress
import os
import sys

LOG = os.environ.get("NETWORK_LOG")
if LOG:
    with open(f"{LOG}.guarded", "a", encoding="utf-8") as guarded:
        guarded.write(" ".join(sys.orig_argv) + "\n")


def is_local(host):
    """Tell whether a host name or address is this machine."""
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse(event, arguments):
    """Audit hook: let local connections pass, note and refuse the others."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if not is_local(host):
        if LOG:
            with open(LOG, "a", encoding="utf-8") as log:
                log.write(f"{event} {host}\n")
        raise ConnectionRefusedError(f"{event} to {host} is refused in tests")


sys.addaudithook(refuse)
