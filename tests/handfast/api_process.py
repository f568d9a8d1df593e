"""A node in a process of its own, to be killed: `reader` prints what it gets, `writer` sends numbers and prints fates."""

import asyncio
import sys
from itertools import count

from handfast import Node, relay_lines
from handfast.conversation.model import Settings

# who talked to a process that was killed gives its session up after a second, and resumes with the next one
QUICK = Settings(retry_delays=(0.25, 0.25, 0.5), repeat_gap=0.2)


async def read(node: Node) -> None:
    async for message in node:
        print(message.data, flush=True)


async def write(node: Node) -> None:
    peer = await node.peer()
    sent = max((receipt.number for receipt in await peer.receipts()), default=0)
    for number in count(sent + 1):
        receipt = await peer.send(number)
        print(await receipt.wait(), number, flush=True)


async def main(role: str, home: str, port: int) -> None:
    transport = relay_lines("127.0.0.1", port)
    secret = b"for a test"
    async with Node.open(role, passphrase=secret, home=home, transport=transport, settings=QUICK) as node:
        await (read if role == "reader" else write)(node)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
