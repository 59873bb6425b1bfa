"""The standard library's XML-RPC server with a thread per connection; prints its port when it serves.

As the library gives it, it speaks HTTP/1.0 and closes the connection after each answer. ``--keep-alive`` switches
its handler to HTTP/1.1.
"""

from __future__ import annotations

import json
import sys
from socketserver import ThreadingMixIn
from typing import Any
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

from bench.peers.serving import Options, end_with_parent, options


class Handler(SimpleXMLRPCRequestHandler):
    """The library's own, at another path."""

    rpc_paths = ("/",)


class KeepAliveHandler(Handler):
    """Keeps connections open, as the client wants it."""

    protocol_version = "HTTP/1.1"


class Server(ThreadingMixIn, SimpleXMLRPCServer):
    """A thread per connection."""

    daemon_threads = True
    request_queue_size = 128


def serve(given: Options) -> None:
    """Serve until the process is stopped."""
    value = json.loads(given.answer)

    def job_exec(name: Any, settings: Any) -> Any:
        return value

    handler = KeepAliveHandler if given.keep_alive else Handler
    server = Server(("127.0.0.1", 0), handler, logRequests=False, allow_none=True)
    server.socket = given.tls().wrap_socket(server.socket, server_side=True)
    server.register_function(job_exec)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    end_with_parent()
    serve(options(has_keep_alive=True))
