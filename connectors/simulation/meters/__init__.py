"""What meters make of it: registers, voltages, errors, and the way to the head-end."""
