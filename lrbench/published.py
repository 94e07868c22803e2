"""For plugins: tables and figures of papers, see lrbench.report.published."""

from lrbench.report.published import PublishedGallery, PublishedRow, PublishedSweep, PublishedTable

__all__ = ["PublishedGallery", "PublishedRow", "PublishedSweep", "PublishedTable"]
