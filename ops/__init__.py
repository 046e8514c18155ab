"""How gridflow is run: the command line, settings, services, benchmarks."""

import os

# Before Polars is imported: frames are one batch each, and for those the hand-over to a pool of threads costs more
# than it saves. Flows use several cores by several workers.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
