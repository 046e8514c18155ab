"""What the meters of one area say together: gains, clocks, shapes of gaps, losses of its lines, unregistered energy.

Everything here is a pure function of columns [windows, customers]; see ``study`` for how the parts work together.
"""
