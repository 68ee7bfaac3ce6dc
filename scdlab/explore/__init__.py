"""Pictures to explore with: plotly figures made by pure functions, and widgets whose state lives in
traits."""

from scdlab.explore.bench import Bench
from scdlab.explore.candidates import candidate_figure
from scdlab.explore.claim_curves import claim_curves
from scdlab.explore.condition import ConditionExplorer
from scdlab.explore.described import alternative_text, described
from scdlab.explore.embedding import EmbeddingExplorer
from scdlab.explore.filter_plots import filter_curves, filter_cuts, filter_figure
from scdlab.explore.filters import FilterExplorer
from scdlab.explore.forces import ForceExplorer
from scdlab.explore.frames import FrameExplorer
from scdlab.explore.maps import compare_maps, embedding_map
from scdlab.explore.molecule_plots import molecule_figure, neighbor_figure
from scdlab.explore.neighbors import NeighborExplorer
from scdlab.explore.noise import NoiseExplorer
from scdlab.explore.plots import (
    compare_bars,
    compare_curves,
    drift_plot,
    learning_curve,
    parity_plot,
    path_plot,
)
from scdlab.explore.section import Section
from scdlab.explore.view import MoleculeView, static_view, view_molecule
from scdlab.explore.widgets import Explorer, FigureExplorer, SvgExplorer

__all__ = [
    "Bench",
    "ConditionExplorer",
    "EmbeddingExplorer",
    "Explorer",
    "FigureExplorer",
    "FilterExplorer",
    "ForceExplorer",
    "FrameExplorer",
    "MoleculeView",
    "NeighborExplorer",
    "NoiseExplorer",
    "Section",
    "SvgExplorer",
    "alternative_text",
    "candidate_figure",
    "claim_curves",
    "compare_bars",
    "compare_curves",
    "compare_maps",
    "described",
    "drift_plot",
    "embedding_map",
    "filter_curves",
    "filter_cuts",
    "filter_figure",
    "learning_curve",
    "molecule_figure",
    "neighbor_figure",
    "parity_plot",
    "path_plot",
    "static_view",
    "view_molecule",
]
