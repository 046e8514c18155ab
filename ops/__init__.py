"""How gridflow is run: the command line, settings, services, benchmarks."""

import os

# Before the libraries are imported; whoever knows better sets them outside.
for _name, _value in {
    # Frames are one batch each, and for those the hand-over to a pool of threads costs more than it saves. Flows use
    # several cores by several workers.
    "POLARS_MAX_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",  # areas' matrices are small: other threads would mostly wait, busily
    # Memory comes and goes with every batch: let the allocator keep it a while, and not ask for huge pages, which
    # have to be cleared as a whole.
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:5000,muzzy_decay_ms:-1",
    "NUMPY_MADVISE_HUGEPAGE": "0",
}.items():
    os.environ.setdefault(_name, _value)
