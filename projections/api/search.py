"""Search pages."""


class SearchPages: ...
