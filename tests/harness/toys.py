"""Small operators, triggers and a small paid service, to test the harness."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink, Variable
from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol


class TicketLink(BaseOperatorLink):
    """Links to the ticket that the task has pushed."""

    name = "Ticket"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        return f"https://example.com/{XCom.get_value(key='ticket', ti_key=ti_key)}"


class TicketTrigger(BaseTrigger):
    """Waits for a ticket; ``mood`` makes it misbehave."""

    def __init__(self, url: str, conn_id: str = "shop", mood: str = "") -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base has no annotations
        self.url = url
        self.conn_id = conn_id
        self.mood = mood

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"url": self.url, "conn_id": self.conn_id, "mood": self.mood},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        if self.mood == "raises":
            raise ValueError("the trigger stumbled")
        if self.mood == "silent":
            return
        if self.mood == "calls without await":
            BaseHook.get_connection(self.conn_id)
        if self.mood == "calls in a thread":
            await sync_to_async(BaseHook.get_connection)(self.conn_id)
        if self.mood == "calls in a thread of its own":
            await asyncio.to_thread(BaseHook.get_connection, self.conn_id)
        if self.mood == "requests state":
            from airflow.sdk.execution_time import task_runner  # noqa: PLC0415  # as a trigger would
            from airflow.sdk.execution_time.comms import GetXComSequenceSlice  # noqa: PLC0415

            await task_runner.SUPERVISOR_COMMS.asend(
                GetXComSequenceSlice(key="k", dag_id="d", run_id="r", task_id="t", start=None, stop=None, step=None)
            )
        connection = await BaseHook.aget_connection(self.conn_id)
        async with httpx.AsyncClient() as client:
            response = await client.get(f"{self.url}/ticket", headers={"Authorization": str(connection.password)})
        yield TriggerEvent(response.json())
        if self.mood == "lingers":
            await asyncio.sleep(60)


class BuyTicket(BaseOperator):
    """Buys once, stores the purchase in the state store (or a Variable), and waits in a trigger.

    Args:
        url: of the `Shop`.
        note: rendered; returned with the result.
        mood: passed to the trigger.
    """

    template_fields = ("url", "note")
    operator_extra_links = (TicketLink(),)

    def __init__(self, *, url: str, note: str = "", mood: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.url = url
        self.note = note
        self.mood = mood

    def execute(self, context: Context) -> Any:
        if not (ticket := self._remembered(context)):
            ticket = httpx.post(f"{self.url}/buy").json()["ticket"]
            self._remember(context, ticket)
        self.log.info("Bought ticket %s", ticket)
        context["ti"].xcom_push(key="ticket", value=ticket)
        self.defer(trigger=TicketTrigger(self.url, mood=self.mood), method_name="complete", timeout=600)

    def complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        return {"note": self.note, **event}

    def _remembered(self, context: Context) -> Any:
        if store := context.get("task_state_store"):
            return store.get("ticket")
        return Variable.get("ticket", default=None)

    def _remember(self, context: Context, ticket: str) -> None:
        if store := context.get("task_state_store"):
            store.set("ticket", ticket)
        else:
            Variable.set("ticket", ticket)


class Fail(BaseOperator):
    """Raises the given exception."""

    def __init__(self, *, error: BaseException, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.error = error

    def execute(self, context: Context) -> None:
        self.log.warning("about to fail")
        raise self.error


class Echo(BaseOperator):
    """Returns its rendered value."""

    template_fields = ("value",)

    def __init__(self, *, value: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value = value

    def execute(self, context: Context) -> Any:
        ti: RuntimeTaskInstanceProtocol = context["ti"]
        self.log.info("try %s of %s", ti.try_number, ti.max_tries)
        return self.value


@dataclass
class Shop:
    """Sells a ticket for every POST, and counts them."""

    url: str = ""
    sold: int = 0
    keys_seen: list[str | None] = field(default_factory=list)


@contextmanager
def open_shop() -> Iterator[Shop]:
    """A shop on a real socket, on loopback."""
    shop = Shop()

    class Counter(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            shop.sold += 1
            self._answer(f'{{"ticket": "ticket-{shop.sold}"}}')

        def do_GET(self) -> None:
            shop.keys_seen.append(self.headers["Authorization"])
            self._answer('{"gate": 7}')

        def _answer(self, text: str) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Counter) as server:
        shop.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield shop
        server.shutdown()
        thread.join()
