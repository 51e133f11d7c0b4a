"""The page in a real browser: what it shows, that it is live, what it does, and who can use it."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.integration.web.conftest import PATIENCE, Site
from tests.unit.cli.conftest import MS
from worker.view.live import Live

expect.set_options(timeout=PATIENCE * 1000)


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """The page, let in by a link; whatever the browser complains of fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE * 1000)
    shown = context.new_page()
    wrong: list[str] = []
    shown.on("console", lambda said: wrong.append(said.text) if said.type in {"error", "warning"} else None)
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.goto(site.link)
    expect(shown.locator("#deliveries > li").first).to_be_visible()
    yield shown
    context.close()
    assert not wrong


def test_it_shows_what_the_commands_say(page: Page, site: Site) -> None:
    queue = site.desk.run("queue", "--json").json
    expect(page.locator("#headline")).to_contain_text(f"{queue['counts']['dead']} dead")
    expect(page.locator("#problems")).to_contain_text("1 dead")
    expect(page.locator("#deliveries > li")).to_have_count(len(queue["deliveries"]))
    for one in queue["deliveries"]:
        row = page.locator(f'#deliveries > li[data-key="{one["key"]} {one["transport"]}"]')
        expect(row).to_contain_text(one["state"])
    expect(page.locator("#agent-title")).to_have_text("bob")
    expect(page.locator("#state")).to_have_text("live")


def test_it_is_live(page: Page, site: Site) -> None:
    row = page.locator(f'#deliveries > li[data-key="bob/{MS}-0 dies"]')
    expect(row).to_contain_text("dead")
    site.desk.run("retry", f"bob/{MS}-0", "--transport", "dies")
    expect(row).not_to_contain_text("dead")
    expect(page.locator("#headline")).to_contain_text("0 dead")


def test_a_button_is_the_command_that_it_shows(page: Page, site: Site) -> None:
    command = f"bus-watch retry bob/{MS}-0 --transport dies"
    button = page.locator(f'#deliveries > li[data-key="bob/{MS}-0 dies"]').get_by_role("button", name="retry")
    button.focus()
    expect(page.locator("#command")).to_have_text(command)
    button.click()
    expect(page.locator("#said")).to_have_text(f"{command}: bob/{MS}-0 dies: was dead, waits again")
    assert "0 dead" in site.desk.run("status").out or '"dead": 0' in site.desk.run("status", "--json").out


def test_a_drop_is_asked_about(page: Page, site: Site) -> None:
    row = page.locator(f'#deliveries > li[data-key="bob/{MS}-0 holds"]')
    row.get_by_role("button", name="drop").click()
    expect(page.locator("#confirm-command")).to_have_text(f"bus-watch drop bob/{MS}-0 --transport holds")
    page.get_by_role("button", name="Leave it").click()
    expect(row).to_be_visible()
    row.get_by_role("button", name="drop").click()
    page.get_by_role("button", name="Run it").click()
    expect(row).to_have_count(0)
    assert not [one for one in site.desk.run("queue", "--json").json["deliveries"] if one["transport"] == "holds"][1:]


def test_the_keyboard_is_enough(page: Page, site: Site) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the chosen agent")).to_be_focused()
    page.keyboard.press("Enter")
    first = page.locator("#deliveries > li").first.get_by_role("button", name="story")
    for _ in range(60):
        page.keyboard.press("Tab")
        if first.evaluate("node => node === document.activeElement"):
            break
    expect(first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#deliveries > li").nth(1).get_by_role("button", name="story")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_what_a_screen_reader_is_told(page: Page) -> None:
    agents = page.get_by_role("region", name="Agents, worst first").get_by_role("button")
    expect(agents).to_have_count(1)
    expect(agents).to_have_accessible_name(re.compile("bob: pane none, .* waiting, .* dead.* came in 24 hours"))
    expect(page.get_by_role("searchbox", name="Find")).to_have_count(1)
    expect(page.get_by_role("textbox", name="Message to this agent")).to_have_count(1)
    expect(page.get_by_role("list", name="Not done")).to_have_count(1)
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, textarea')]"
        ".filter(n => n.checkVisibility() && !(n.textContent || n.ariaLabel || n.labels?.length)).length"
    )
    assert unnamed == 0


# The contrast of two colours, as WCAG 2.2 has it, of whatever text is shown on its own ground.
CONTRASTS = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const light = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    const colour = node ? getComputedStyle(node).backgroundColor : "white";
    return node && colour === "rgba(0, 0, 0, 0)" ? ground(node.parentElement) : colour;
  };
  return [...document.body.querySelectorAll("*")]
    .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
    .filter((node) => node.checkVisibility())
    .map((node) => {
      const [a, b] = [light(getComputedStyle(node).color), light(ground(node))];
      return [`${node.tagName} ${node.className}`, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_light_and_dark(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == ("rgb(16, 21, 26)" if scheme == "dark" else "rgb(255, 255, 255)")
    found = page.evaluate(CONTRASTS)
    assert len(found) > 30
    assert [one for one in found if one[1] < 4.5] == []


def test_it_fits_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    expect(page.locator(".columns")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    small = page.evaluate(
        "[...document.querySelectorAll('button, input')].filter(n => n.checkVisibility())"
        ".filter(n => n.getBoundingClientRect().height < 44).length"
    )
    assert small == 0
    page.locator("#agents button").click()
    expect(page.locator("#agent-title")).to_have_text("bob")


def test_a_frozen_page_stays_as_it_is(page: Page, site: Site) -> None:
    page.get_by_role("button", name="Freeze").click()
    site.desk.run("retry", f"bob/{MS}-0", "--transport", "dies")
    expect(page.locator("#state")).to_contain_text("frozen")
    expect(page.locator("#headline")).to_contain_text("1 dead")
    page.get_by_role("button", name="Freeze").click()
    expect(page.locator("#headline")).to_contain_text("0 dead")


def test_a_reading_that_fails_is_said_and_tried_again(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("a secret")

    with monkeypatch.context() as broken:
        broken.setattr(Live, "board", fails)
        expect(page.locator("#state")).to_contain_text("reading failed (RuntimeError)")
    expect(page.locator("#state")).to_have_text("live")


def test_what_is_found(page: Page) -> None:
    rows = page.locator("#deliveries > li")
    every = rows.count()
    page.get_by_role("searchbox", name="Find").fill(f"{MS + 1}-0")
    expect(rows.first).to_contain_text(f"{MS + 1}-0")
    assert 0 < rows.count() < every
    page.get_by_role("searchbox", name="Find").fill("")
    expect(rows).to_have_count(every)


def test_a_link_to_no_agent_shows_the_first(page: Page, site: Site) -> None:
    for wrong in ("#%", "#nobody", "#%00"):
        page.goto(site.url + "/" + wrong)
        page.reload()
        expect(page.locator("#agent-title")).to_have_text(page.locator("#agents .name").first.inner_text())
