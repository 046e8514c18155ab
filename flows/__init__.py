"""The applications: each a stock Bytewax dataflow, wired in ``flow.py``, calculated in the modules beside it."""
