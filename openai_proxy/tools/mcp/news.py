"""An event that wakes everyone who is waiting for it at that moment."""

import asyncio


class News:
    """Can be awaited by any number of tasks, on one event loop."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def publish(self) -> None:
        """Wake all waiting tasks."""
        future, self._next = self._next, None
        if future is not None and not future.done():
            future.set_result(None)

    async def wait(self) -> None:
        """Wait until the next `publish`."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._next)
