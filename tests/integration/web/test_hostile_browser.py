"""Messages that would be HTML, and pages elsewhere in the same browser."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, expect

from tests.integration.web.conftest import PATIENCE, RETRY, Site, dead
from tests.unit.cli.conftest import MS, STREAM
from worker.bus.wire import InboxMessage
from worker.configuration import load
from worker.ledger import intake
from worker.ledger.sqlite import SqliteLedger

expect.set_options(timeout=PATIENCE * 1000)


SCRIPTS = (
    "<script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title = 'owned'\">",
    "</p></li><iframe srcdoc=\"<script>parent.document.title = 'owned'</script>\"></iframe>",
    "<a href=\"javascript:document.title='owned'\">click</a>",
    "{{constructor.constructor('document.title=1')()}}",
    "\u202eevil\u2066 \x1b[2J\x00",
)


def test_what_a_message_says_stays_text(site: Site, browser: Browser) -> None:
    _post(site, [(text, f"agent:{text}", text[:60]) for text in SCRIPTS])
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    page.goto(site.link)
    for text in SCRIPTS:
        shown = "".join(c if c.isprintable() else " " for c in text).strip()
        row = page.locator("#deliveries > li", has_text=shown).first
        expect(row).to_be_visible()
        row.get_by_role("button", name="story").click()
        expect(page.locator("#story-lines")).to_contain_text(shown)
        page.get_by_role("button", name="Close").click()
    ours = "h1, h2, h3, p, ul, ol, li, span, button, code, div, form, label, input, textarea, section, main, header"
    others = page.evaluate(
        f"[...document.body.querySelectorAll('*')].filter(n => !n.matches(`{ours}`)).map(n => n.tagName)"
    )
    assert set(others) <= {"A", "SEARCH", "FOOTER", "DIALOG"}
    assert page.locator("a").count() == 1
    expect(page).not_to_have_title("owned")
    context.close()
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(site.url).netloc}


def test_the_policy_would_stop_a_string_that_became_html(site: Site, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(site.link)
    expect(page.locator("#deliveries > li").first).to_be_visible()
    refused = page.evaluate(
        """() => {
          const found = {};
          const attempt = (name, what) => {
            try { what(); found[name] = "done"; } catch (error) { found[name] = error.name; }
          };
          attempt("innerHTML", () => { document.body.innerHTML = "<b>x</b>"; });
          attempt("write", () => document.write("<b>x</b>"));
          attempt("source", () => { document.createElement("script").src = "data:,1"; });
          attempt("inline", () => { document.createElement("script").textContent = "window.ran = 1"; });
          return found;
        }"""
    )
    assert refused == dict.fromkeys(("innerHTML", "write", "source", "inline"), "TypeError")
    context.close()


def _post(site: Site, messages: list[tuple[str, str, str]]) -> None:
    """Messages of text, source and class, put where the worker puts what the bus gives."""
    database = SqliteLedger(load(site.desk.config).ledger_file)
    new = [
        InboxMessage(STREAM, f"{MS + 10 + n}-0", MS + 10 + n, 0, source, text, message_class, None, None)
        for n, (text, source, message_class) in enumerate(messages)
    ]
    database.write(lambda tx: intake.take_in(tx, "bob", new, lambda _: (None, ["does"]), time.time()))
    database.close()


def test_a_page_elsewhere_in_the_same_browser_gets_nothing(site: Site, browser: Browser) -> None:
    """On the same host, so that the browser sends it our cookie: what is left is Origin, Sec-Fetch and the token."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Evil) as evil:
        threading.Thread(target=evil.serve_forever, daemon=True).start()
        context = browser.new_context()
        page = context.new_page()
        page.goto(site.link)
        expect(page.locator("#deliveries > li").first).to_be_visible()
        page.goto(f"http://127.0.0.1:{evil.server_port}/")
        tried = page.evaluate(_TRIES, [site.url, RETRY.decode()])
        context.close()
        evil.shutdown()
    assert tried == {
        "fetch": "TypeError", "simple post": "TypeError", "form": "sent", "image": "error", "script": "error",
        "events": "error", "frame": "nothing of ours",
    }  # fmt: skip
    assert dead(site) == 1


_TRIES = """async ([url, body]) => {
  const found = {};
  const ends = (node, source) => new Promise((done) => {
    node.onload = () => done("load"); node.onerror = () => done("error");
    node.src = source; document.body.append(node);
  });
  found["fetch"] = await fetch(url + "/agents/bob", { credentials: "include" }).then(() => "read", (e) => e.name);
  found["simple post"] = await fetch(url + "/do", {
    method: "POST", mode: "no-cors", credentials: "include", body, headers: { "Content-Type": "text/plain" },
  }).then((answer) => answer.type, (e) => e.name);
  const form = document.createElement("form");
  Object.assign(form, { method: "post", action: url + "/do", enctype: "text/plain", target: "hidden" });
  const field = document.createElement("input");
  [field.name, field.value] = [body.slice(0, -1) + ', "x": "', '"}'];
  const hidden = document.createElement("iframe");
  hidden.name = "hidden";
  form.append(field);
  document.body.append(hidden, form);
  const sent = new Promise((done) => { hidden.onload = () => done("sent"); });
  form.submit();
  found["form"] = await sent;
  found["image"] = await ends(document.createElement("img"), url + "/icon.svg");
  found["script"] = await ends(document.createElement("script"), url + "/page.js");
  found["events"] = await new Promise((done) => {
    const events = new EventSource(url + "/events", { withCredentials: true });
    events.onmessage = () => done("read"); events.onerror = () => { events.close(); done("error"); };
  });
  const frame = document.createElement("iframe");
  await ends(frame, url + "/");
  found["frame"] = frame.contentDocument?.querySelector("#headline") ? "read" : "nothing of ours";
  return found;
}"""


class _Evil(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = b"<!doctype html><title>elsewhere</title><body>elsewhere"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        pass
