"""A visitor without a browser: opens pages, moves sliders and asks over the websocket, in Streamlit's own messages.

It does what the browser's side does and no more: sends what changed, keeps the messages that may be cached, and holds what
the page shows now. So twenty of them cost the machine little, and what is measured is the server.
"""

from __future__ import annotations

import contextlib
import html
import re
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets import Subprotocol
from websockets.sync.client import connect

LIMIT = 120.0
"""seconds after which a page counts as hanging"""


class Visitor:
    """One tab. Raises TimeoutError where a page does not come to its end, AssertionError where it shows an exception."""

    def __init__(self, url: str) -> None:
        """Connect; nothing is shown before `open`."""
        self._open = contextlib.ExitStack()
        address = f"{url.replace('http', 'ws', 1)}/_stcore/stream"
        self.socket = self._open.enter_context(
            connect(address, subprotocols=[Subprotocol("streamlit")], max_size=None, proxy=None)
        )
        self.elements: dict[tuple[int, ...], Any] = {}
        """what the page shows: path -> element"""
        self.pages: dict[str, str] = {}
        """part of the address -> the page's hash"""
        self.page = self.query = ""
        self._fragments: dict[tuple[int, ...], str] = {}
        self._values: dict[str, WidgetState] = {}
        self._kept: dict[str, ForwardMsg] = {}

    def __enter__(self) -> Self:
        """Be closed at the end."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the tab."""
        self.close()

    def close(self) -> None:
        """Close the tab."""
        self._open.close()

    # -- what a visitor does ------------------------------------------------------------------------------------------

    def open(self, page: str = "", **query: str) -> float:
        """Go to a page and wait until it is complete; return the seconds."""
        began = time.monotonic()
        self.start(page, **query)
        self.wait()
        return time.monotonic() - began

    def start(self, page: str = "", **query: str) -> None:
        """Go to a page without waiting for it."""
        self.page, self.query = page, urlencode(query)
        self._values.clear()
        self._send()

    def move(self, key: str, value: float) -> float:
        """Release a slider at a value and wait for the page; return the seconds."""
        state = WidgetState(id=self.widget("slider", key).slider.id)
        state.double_array_value.data.append(value)
        return self._change("slider", key, state)

    def click(self, key: str) -> float:
        """Press a button and wait for the page; return the seconds."""
        return self._change("button", key, WidgetState(id=self.widget("button", key).button.id, trigger_value=True))

    def say(self, key: str, text: str) -> float:
        """Send a text from a chat field and wait for the page; return the seconds."""
        state = WidgetState(id=self.widget("chat_input", key).chat_input.id)
        state.chat_input_value.data = text
        return self._change("chat_input", key, state)

    def _change(self, kind: str, key: str, state: WidgetState) -> float:
        began = time.monotonic()
        once = state.WhichOneof("value") in ("trigger_value", "chat_input_value")
        kept = {**self._values, state.id: state}
        self._send(kept, self._fragments.get(next(path for path, e in self.elements.items() if self._is(e, kind, key)), ""))
        self._values = self._values if once else kept
        self.wait()
        return time.monotonic() - began

    # -- what it sees -------------------------------------------------------------------------------------------------

    def widget(self, kind: str, key: str) -> Any:
        """Return the element of a kind with a key."""
        found = [element for element in self.elements.values() if self._is(element, kind, key)]
        assert found, f"no {kind} {key} on {self.page}: {self.text()[:300]}"
        return found[0]

    @staticmethod
    def _is(element: Any, kind: str, key: str) -> bool:
        return element.WhichOneof("type") == kind and str(getattr(element, kind).id).endswith(f"-{key}")

    def said(self, kind: str) -> Iterator[str]:
        """Yield the texts of the elements of a kind, without markup."""
        for _, element in sorted(self.elements.items()):
            if element.WhichOneof("type") == kind:
                yield html.unescape(re.sub(r"<[^>]*>", "", getattr(element, kind).body))

    def text(self) -> str:
        """Return everything that the page says."""
        return "\n".join(text for kind in ("heading", "markdown", "html", "alert") for text in self.said(kind))

    # -- messages -----------------------------------------------------------------------------------------------------

    def _send(self, values: dict[str, WidgetState] | None = None, fragment: str = "") -> None:
        known = self.pages.get(self.page, "")
        state = ClientState(
            query_string=self.query, page_script_hash=known, page_name="" if known else self.page, fragment_id=fragment
        )
        state.widget_states.widgets.extend((self._values if values is None else values).values())
        state.cached_message_hashes.extend(self._kept)
        state.context_info.timezone, state.context_info.locale, state.context_info.color_scheme = "UTC", "en", "light"
        self.socket.send(BackMsg(rerun_script=state).SerializeToString())

    def wait(self, seconds: float = LIMIT) -> None:
        """Take in messages until the script has come to its end."""
        until = time.monotonic() + seconds
        while not self.take(max(0.0, until - time.monotonic())):
            pass
        for element in self.elements.values():
            assert element.WhichOneof("type") != "exception", f"{element.exception.type}: {element.exception.message}"

    def take(self, seconds: float) -> bool:
        """Take in the next message; say whether with it the page is complete. Raises TimeoutError where none comes."""
        message = ForwardMsg()
        message.ParseFromString(self.socket.recv(timeout=seconds, decode=False))
        if message.WhichOneof("type") == "ref_hash":
            path = list(message.metadata.delta_path)
            kept = self._kept[message.ref_hash]
            message = ForwardMsg()
            message.CopyFrom(kept)
            message.metadata.delta_path[:] = path
        elif message.metadata.cacheable:
            self._kept[message.hash] = message
        return self._taken(message)

    def _taken(self, message: ForwardMsg) -> bool:
        kind, path = message.WhichOneof("type"), tuple(message.metadata.delta_path)
        if kind == "new_session" and not message.metadata.run.fragment_ids:
            self.elements.clear()
            self._fragments.clear()
        elif kind == "navigation":
            self.pages = {page.url_pathname: page.page_script_hash for page in message.navigation.app_pages}
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "page_not_found":
            raise AssertionError(f"There is no page {self.page}.")
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            self.elements[path] = message.delta.new_element
            self._fragments[path] = message.delta.fragment_id
        return kind == "script_finished" and message.script_finished in (
            ForwardMsg.FINISHED_SUCCESSFULLY,
            ForwardMsg.FINISHED_WITH_COMPILE_ERROR,
            ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY,
        )
