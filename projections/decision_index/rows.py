"""How the rows of a decision index are searched, as settings have it; no verdict depends on it."""

from projections.decision_index.fold import MakeRows
from projections.decision_index.graph import FoldedGraph
from projections.decision_index.index import TIERS, DecisionRows
from projections.hnsw import GraphSettings
from streams.settings import Settings

__all__ = ["rows_of"]


def rows_of(settings: Settings) -> MakeRows:
    """What makes the rows of one tenant."""
    graph = GraphSettings(
        m=settings.index_m,
        ef_construction=settings.index_ef_construction,
        ef=settings.index_ef,
        k=settings.index_k,
    )
    tiers = TIERS._replace(graph_from=settings.index_graph_from)
    width = settings.index_width
    return lambda: DecisionRows(lambda: FoldedGraph(graph, width), tiers)
