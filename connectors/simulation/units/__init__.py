"""What feeder terminal units and the devices of the bays see."""
