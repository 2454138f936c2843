"""Made-up addresses: a place always has the same one, and it is in no real street."""

from __future__ import annotations

import math

from simulator.movement import Fix

STREETS = (
    "Amberwick Lane", "Birchholt Road", "Candlegate", "Dovecross Street", "Elderbourne Avenue", "Fennimore Walk",
    "Gorseley Hill", "Hollowmead", "Ivorybrook Road", "Juniper Rise", "Kestrelgate", "Larkenshaw Street",
    "Mossfield Parade", "Nettlecombe Way", "Oakenthorpe Road", "Primrose Wharf", "Quillerton Street",
)  # fmt: skip
LOCALITIES = ("Northmere", "Eastwick Quay", "Southbarrow", "Westhollin", "Midlake")
STREET_DEGREES = 0.002
"""About 200 m: from street to street."""
LOCALITY_DEGREES = 0.03
NUMBERS = 60


def address_of(fix: Fix) -> tuple[str, str]:
    """Return the address, and the locality in it."""
    street = STREETS[_cell(fix, STREET_DEGREES) % len(STREETS)]
    locality = LOCALITIES[_cell(fix, LOCALITY_DEGREES) % len(LOCALITIES)]
    number = 1 + int(fix.longitude / STREET_DEGREES % 1 * NUMBERS)
    return f"{number} {street}, {locality}", locality


def _cell(fix: Fix, degrees: float) -> int:
    return 7 * math.floor(fix.longitude / degrees) + 5 * math.floor(fix.latitude / degrees)
