"""How results go out: Kafka, InfluxDB and Parquet.

Every sink takes items ``(key, frame)``: a Polars frame with the columns of its contract, routed by the key to
one of the sink's partitions. What a sink has been given is durable when Bytewax has taken the partition's
snapshot (the end of an epoch) or has closed it (the end of the input), never later: only then do the offsets
behind it move on.

Delivery is at least once. The effect is exactly once because every row has an identity and a revision that
grows with the data it rests on: the highest revision of an identity is the result, however often it was
written.
"""
