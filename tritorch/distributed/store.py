"""Stores: keys and values that ranks share to find each other; never their data.

TCPStore speaks one line of JSON a request over a socket: [operation, key, value], answered by [result].
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from datetime import timedelta

_TIMEOUT = timedelta(minutes=5)


class Store:
    """Keys and their values as bytes; `get` and `wait` wait for keys that are not there yet."""

    def __init__(self, timeout=_TIMEOUT):
        self.timeout = timeout

    def set_timeout(self, timeout):
        """How long `get` and `wait` wait from now on."""
        self.timeout = timeout

    def get(self, key):
        """The value of a key, once it is there."""
        self.wait([key])
        return self._ask("get", key).encode()

    def set(self, key, value):
        """Give a key a value, text or bytes."""
        self._ask("set", key, value.decode() if isinstance(value, bytes) else str(value))

    def add(self, key, amount):
        """Add to the number of a key, 0 at first; returns the sum."""
        return self._ask("add", key, amount)

    def check(self, keys):
        """Whether all these keys are there."""
        return self._ask("check", list(keys))

    def delete_key(self, key):
        """Forget a key; whether it was there."""
        return self._ask("delete", key)

    def num_keys(self):
        """How many keys there are."""
        return self._ask("count", "")

    def items(self, prefix):
        """Keys that start with `prefix`, without it, and their values as text."""
        return self._ask("items", prefix)

    def wait(self, keys, timeout=None):
        """Wait until all these keys are there; a RuntimeError names them when the time is over."""
        seconds = (timeout or self.timeout).total_seconds()
        ends, pause = time.monotonic() + seconds, 1e-3
        while not self.check(keys):
            if time.monotonic() > ends:
                raise RuntimeError(f"wait timeout after {seconds * 1000:.0f}ms, keys: {', '.join(keys)}")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)


class HashStore(Store):
    """A store of this process alone."""

    def __init__(self):
        super().__init__()
        self._values, self._lock = {}, threading.Lock()

    def _ask(self, operation, key, value=None):
        values = self._values
        with self._lock:
            if operation == "set":
                values[key] = value
            elif operation == "add":
                values[key] = str(int(values.get(key, 0)) + value)
                return int(values[key])
            elif operation == "get":
                return values[key]
            elif operation == "check":
                return all(each in values for each in key)
            elif operation == "delete":
                return values.pop(key, None) is not None
            elif operation == "items":
                return {name[len(key) :]: held for name, held in values.items() if name.startswith(key)}
            return len(values)


class PrefixStore(Store):
    """Another store under keys with a prefix."""

    def __init__(self, prefix, store):
        super().__init__(store.timeout)
        self.prefix, self.underlying_store = prefix, store

    def _ask(self, operation, key, value=None):
        under = [f"{self.prefix}/{each}" for each in key] if isinstance(key, list) else f"{self.prefix}/{key}"
        return self.underlying_store._ask(operation, under, value)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    block_on_close = False


class TCPStore(Store):
    """A store that one process, the master, holds for all others."""

    def __init__(self, host_name, port=0, world_size=None, is_master=False, timeout=_TIMEOUT, wait_for_workers=False):
        super().__init__(timeout)
        self._server, self._lock = None, threading.Lock()
        if is_master:
            local = host_name in ("localhost", "127.0.0.1")
            self._server = _served(HashStore(), host_name if local else "", port)
            port = self._server.server_address[1]
        self.host, self.port = host_name, port
        self._socket = _connected((host_name, port), timeout.total_seconds())
        self._file = self._socket.makefile("r")

    def _ask(self, operation, key, value=None):
        with self._lock:
            self._socket.sendall(json.dumps([operation, key, value]).encode() + b"\n")
            line = self._file.readline()
        if not line:
            raise RuntimeError(f"the store at {self.host}:{self.port} closed its connection")
        return json.loads(line)[0]

    def leave_behind(self, key, value):
        """Have the master set a key when this connection ends; the key None takes that back."""
        self._ask("leave", key, value)

    def disconnect(self):
        """End the connection; a master goes on answering the others."""
        self._file.close()
        self._socket.close()

    def close(self):
        """End the connection, and the server where this is the master."""
        self.disconnect()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def _served(values, host, port):
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.left = None, None
            try:
                for line in self.rfile:
                    self.wfile.write(json.dumps([self.answer(*json.loads(line))]).encode() + b"\n")
            except ConnectionError:
                pass  # a process that was killed: the same as one that closed
            if self.left[0] is not None:
                values._ask("set", *self.left)

        def answer(self, operation, key, value):
            if operation == "leave":
                self.left = key, value
                return None
            return values._ask(operation, key, value)

    server = _Server((host, port), Handler)
    threading.Thread(target=server.serve_forever, name="tritorch store", daemon=True).start()
    return server


def _connected(address, seconds):
    ends = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection(address, timeout=seconds)
        except OSError as error:
            if time.monotonic() > ends:
                raise RuntimeError(f"no store answered at {address[0]}:{address[1]} within {seconds:g} s") from error
            time.sleep(0.05)
