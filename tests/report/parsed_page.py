"""A page as a list of its elements."""

from html.parser import HTMLParser

VOID = {"meta", "img", "line", "rect", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Elements with their attributes and text; fails on tags that are not closed in order."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append({"tag": tag, "text": "", **dict(attrs)})

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def having(self, mark):
        return [element for element in self.elements if mark in element]

    def tags(self, tag):
        return [element for element in self.elements if element["tag"] == tag]
