"""How data comes in: Kafka, files, the reference network; framing, decoding, validation, dead letters."""
