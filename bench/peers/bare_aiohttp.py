"""An aiohttp handler that only decodes the call and encodes the answer; prints its port when it serves."""

from __future__ import annotations

import asyncio
import json
import sys
import xmlrpc.client

from aiohttp import web

from bench.peers.serving import Options, end_with_parent, options


async def serve(given: Options) -> None:
    """Serve until the process is stopped."""
    value = json.loads(given.answer)

    async def answer(request: web.BaseRequest) -> web.Response:
        xmlrpc.client.loads(await request.read())
        text = xmlrpc.client.dumps((value,), methodresponse=True, allow_none=True)
        return web.Response(body=text.encode(), content_type="text/xml")

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=given.tls()).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    end_with_parent()
    asyncio.run(serve(options()))
