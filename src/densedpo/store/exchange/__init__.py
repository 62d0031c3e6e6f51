"""Labels out of a project and into one, as files for other programs. Formats: docs/exchange.md. No torch."""

from densedpo.store.exchange.add import ImportReport, Opinion, add_opinions
from densedpo.store.exchange.opinions import Exported, export_opinions, import_opinions
from densedpo.store.exchange.verdicts import VerdictReport, export_rewardbench, export_trl

__all__ = [
    "Exported",
    "ImportReport",
    "Opinion",
    "VerdictReport",
    "add_opinions",
    "export_opinions",
    "export_rewardbench",
    "export_trl",
    "import_opinions",
]
