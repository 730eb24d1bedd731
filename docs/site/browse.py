"""Look at the built site in a browser: wide, narrow, dark, and a search. After `make docs`.

    python docs/site/browse.py FOLDER [--browser /usr/bin/chromium]

writes a picture of each page and manner to FOLDER, and fails if a page is wider than its window, a
script fails, or a search finds nothing. Needs `pip install playwright` and a Chromium.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import sys
import threading
from pathlib import Path

SITE = Path(__file__).parents[2] / "build" / "site"
PAGES = (
    *("index", "start/choose", "start/faq", "how-to/restore", "theory/bridges"),
    *("measured/blackout", "gallery/index", "reference/index", "reference/transport"),
)
MANNERS = {"wide": (1280, "light"), "narrow": (390, "light"), "dark": (1280, "dark")}
WORD = "imputation"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and tells nobody."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


def look(folder: Path, browser: str) -> list[str]:
    """Draw all pages in all manners; what is wrong with them."""
    from playwright.sync_api import sync_playwright  # pyright: ignore[reportMissingImports]

    handler = functools.partial(Quiet, directory=str(SITE))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home, wrong = f"http://127.0.0.1:{server.server_port}", []
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for manner, (width, scheme) in MANNERS.items():
            size = {"width": width, "height": 1000}
            page = chromium.new_context(viewport=size, color_scheme=scheme).new_page()
            page.on("pageerror", lambda error: wrong.append(str(error)))
            for name in PAGES:
                page.goto(f"{home}/{name}.html")
                page.screenshot(path=folder / f"{name.replace('/', '-')}-{manner}.png")
                if page.evaluate("document.documentElement.scrollWidth") > width:
                    wrong.append(f"{name}, {manner}: wider than its window")
            page.goto(f"{home}/search.html?q={WORD}")
            page.wait_for_selector("#search-results li", timeout=20_000)
            page.screenshot(path=folder / f"search-{manner}.png")
        chromium.close()
    server.shutdown()
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--browser", default="/usr/bin/chromium")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    wrong = look(options.folder, options.browser)
    print("\n".join(wrong) or f"{len(PAGES)} pages in {len(MANNERS)} manners, and a search: well")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
