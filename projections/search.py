"""Local search."""


class LocalSearch: ...
