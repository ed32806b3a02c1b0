"""Goes through the pages of a server as a person does, in a real browser: clicks, types, uses the keyboard alone; wide and light, then dark on a phone.

The first argument is the browser, the second the server's address, the third a token; tests/pages.rs has made what it shows. Ends with an error where a page is not what was clicked, says something on the
browser's console, asks anything of another host, or is wider than the phone. With a folder as the fourth argument it leaves a picture of each page there.
"""

import sys
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page, expect, sync_playwright

BROWSER, URL, TOKEN, *PICTURES = sys.argv[1:]


def look(page: Page, name: str, title: str) -> None:
    """Checks that a page with this title is there, and no wider than the window."""
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    wide, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= window, f"{name}: {wide} pixels wide in a window of {window}"
    if PICTURES:
        page.screenshot(path=Path(PICTURES[0]) / f"{page.viewport_size['width']}-{name}.png", full_page=True)


def pictures(page: Page, number: int) -> None:
    """Checks that so many images are there, and were decoded."""
    images = page.locator("ol.samples img")
    expect(images).to_have_count(number)
    assert all(images.evaluate_all("all => all.map(image => image.complete && image.naturalWidth > 0)")), "an image is broken"


def console(page: Page, query: str) -> None:
    """Types a query and runs it by keyboard."""
    page.get_by_label("Query", exact=True).fill(query)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")


def walk(page: Page) -> None:
    """All main paths, each from the first page on."""
    page.goto(URL)
    look(page, "login", "Log in")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("not known")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    look(page, "overview", "Workspace")

    by_tiny = page.get_by_role("region", name="Datasets").get_by_role("row").filter(has_text="tiny@1")
    by_tiny.get_by_role("link", name="d", exact=True).click()
    look(page, "dataset", "d")
    page.get_by_role("link", name="red").first.click()
    look(page, "class", "red")
    pictures(page, 3)
    page.go_back()
    page.get_by_role("link", name="empty").first.click()
    look(page, "rejects", "empty")
    expect(page.get_by_text("<script>alert(1)</script>.jpg")).to_be_visible()

    page.get_by_role("link", name="Compare teachers").click()
    page.get_by_label("Before").select_option("tiny@1")
    page.get_by_label("After").select_option("other@1")
    page.get_by_role("button", name="Compare").click()
    look(page, "compared", "tiny@1 → other@1")
    page.get_by_role("link", name="3 from red to blue").click()
    look(page, "moved", "red → blue")
    pictures(page, 3)

    page.get_by_role("link", name="understudy").first.click()
    page.get_by_role("link", name="tiny@1").first.click()
    look(page, "teacher", "tiny@1")
    page.get_by_role("link", name="understudy").first.click()
    page.get_by_role("link", name="s", exact=True).click()
    look(page, "selection", "s")

    page.get_by_role("link", name="SQL").click()
    console(page, "SELECT label, count(*) AS images FROM labels GROUP BY label ORDER BY label")
    expect(page.get_by_role("region", name="Rows").get_by_role("row")).to_have_count(4)
    look(page, "sql", "SQL")
    console(page, "SELECT nothing FROM labels")
    expect(page.locator("main")).to_contain_text("No field named nothing")

    # From the first page to a dataset without a mouse: what has the focus is a link, and is seen to have it.
    page.goto(URL)
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "d":
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "the focus is not seen"
    page.keyboard.press("Enter")
    look(page, "by-keyboard", "d")


def main() -> None:
    """Walks twice."""
    heard = []
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for width, height, scheme in ((1280, 900, "light"), (390, 844, "dark")):
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            # A busy machine takes its time.
            page.set_default_timeout(120_000)
            # A refused token is an answer with 401, of which browsers tell.
            page.on("console", lambda said: "401" in said.text or heard.append(said.text))
            page.on("pageerror", lambda error: heard.append(str(error)))
            page.on("request", lambda asked: urlsplit(asked.url).netloc in ("", urlsplit(URL).netloc) or heard.append(asked.url))
            walk(page)
            context.close()
        browser.close()
    assert not heard, heard


if __name__ == "__main__":
    main()
