"""Event time in columns: gates, watermarks, register stores, alignment, the network as of a time."""
