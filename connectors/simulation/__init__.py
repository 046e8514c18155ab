"""A simulated city: telemetry of meters, terminal units and IEDs from one physical state, and the truth beside it.

``simulation`` is the stream, ``write`` puts it into files; ``grid`` says what is simulated,
``physics`` computes the state, ``telemetry`` what the devices of a substation make of it, ``truth`` and ``events`` what
is really so.
"""
