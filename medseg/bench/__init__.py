"""Side-by-side measurements: medseg and what people use instead, on the same work.

A file a subject gives the works (`Work`) of that subject; `measure` runs both sides in turns on the
same inputs and compares what they return before any time counts. ``medseg bench`` runs the short
form of them; the scripts in ``benchmarks/`` run them whole and keep their results.
"""

from medseg.bench.measure import Comparison, Timed, Work, compare
from medseg.bench.record import record, table, write_record

__all__ = ["Comparison", "Timed", "Work", "compare", "record", "table", "write_record"]
