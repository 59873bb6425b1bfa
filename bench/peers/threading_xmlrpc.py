"""The standard library's XML-RPC server with a thread per connection; prints its port when it serves."""

from __future__ import annotations

import json
import sys
from socketserver import ThreadingMixIn
from typing import Any
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

from bench.peers.serving import Options, end_with_parent, options


class Handler(SimpleXMLRPCRequestHandler):
    """Keeps connections open, as the client wants it."""

    protocol_version = "HTTP/1.1"
    rpc_paths = ("/",)


class Server(ThreadingMixIn, SimpleXMLRPCServer):
    """A thread per connection."""

    daemon_threads = True
    request_queue_size = 128


def serve(given: Options) -> None:
    """Serve until the process is stopped."""
    value = json.loads(given.answer)

    def job_exec(name: Any, settings: Any) -> Any:
        return value

    server = Server(("127.0.0.1", 0), Handler, logRequests=False, allow_none=True)
    server.socket = given.tls().wrap_socket(server.socket, server_side=True)
    server.register_function(job_exec)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    end_with_parent()
    serve(options())
