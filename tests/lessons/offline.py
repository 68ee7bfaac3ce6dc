"""Which addresses an html page would load by itself: scripts, styles, images, fonts, frames."""

import re
from html.parser import HTMLParser

LOADING = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "link": "href",
}


class _Finder(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []
        self.inside = ""

    def handle_starttag(self, tag, attributes):
        self.inside = tag
        address = dict(attributes).get(LOADING.get(tag, ""), None)
        if address:
            self.found.append(address)

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "style":
            self.found += re.findall(r"@import\s+[\"']?([^\"';]+)", data)
            self.found += re.findall(r"url\(\s*[\"']?([^\"')]+)", data)


def external_addresses(page: str) -> list[str]:
    """Addresses that opening the page would fetch; data: addresses and fragments are inside the
    page."""
    finder = _Finder()
    finder.feed(page)
    return [address for address in finder.found if not address.startswith(("data:", "#"))]
