"""Pages: a plain dataclass of results -> one self-contained HTML file.

Promises everything inlined and escaped, nothing fetched, each figure printed as it was given.
Must not know how results are computed: it imports only errors.
"""

from __future__ import annotations

from tlfeatures.report._page import (
    ReportControl,
    ReportPage,
    ReportRow,
    Sheet,
    render_page,
    save_page,
)

__all__ = ["ReportControl", "ReportPage", "ReportRow", "Sheet", "render_page", "save_page"]
