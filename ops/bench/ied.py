"""The supervision of IEDs: a replay of 10,000 control blocks, beside the decoder alone on the same messages."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from rich.table import Table

from connectors.decode import Decoder
from ops.console import out
from schemas import contract
from schemas.encode import Encoder
from schemas.registry import LocalRegistry

BLOCKS = 10_000
DEVICES_PER_STATION = 20
_TOPIC = "grid.ied.v1"
_START = 1_475_452_800_000_000
_DECODED = 200_000


def ied_messages(beats: int, seed: int = 1) -> pl.DataFrame:
    """GOOSE of ``BLOCKS`` publishers, a heartbeat each second; now and then one changes its state, is lost, or lies.

    Args:
        beats: seconds.
        seed: of what happens.
    """
    chance = np.random.default_rng(seed)
    shape = (beats, BLOCKS)
    changes = np.cumsum(chance.random(shape) < 0.002, axis=0)
    second = np.arange(beats)[:, None]
    # sqNum counts from the last change, and the state's time is that of its first message.
    begun = np.maximum.accumulate(np.where(np.diff(changes, axis=0, prepend=0) > 0, second, 0), axis=0)
    phase = chance.integers(0, 1_000_000, BLOCKS)
    received = _START + second * 1_000_000 + phase + chance.integers(0, 2_000, shape)
    kept = (chance.random(shape) > 0.001).ravel()
    block = np.broadcast_to(np.arange(BLOCKS), shape).ravel()[kept]
    names = np.array([f"S{n // DEVICES_PER_STATION:04d}-P{n % DEVICES_PER_STATION:02d}" for n in range(BLOCKS)])
    blocks = pl.Series(names)
    state = changes.ravel()[kept]
    times = {"received_time": received.ravel()[kept], "time": (_START + begun * 1_000_000 + phase).ravel()[kept]}
    frame = pl.DataFrame({"block": block, "state": state, "sq_num": (second - begun).ravel()[kept], **times})
    values = pl.Series([["on", "false", "false", "12.5"], ["off", "false", "true", "0.0"]])
    data = values.gather(pl.Series(state % 2)).list.eval(
        pl.struct(
            pl.lit(None, pl.String).alias("reference"),
            pl.element().alias("value"),
            pl.lit(0, pl.Int32).alias("quality"),
        )
    )
    made = frame.select(
        blocks.gather(block).alias("ied_id"),
        pl.lit("GOOSE").alias("kind"),
        (blocks.gather(block) + "PROT/LLN0$GO$gcb01").alias("control_block"),
        pl.col("time", "received_time").cast(pl.Datetime("us", "UTC")),
        pl.lit("02:00:00:00:00:01").alias("source_address"),
        pl.lit(1, pl.Int32).alias("app_id"),
        (pl.col("state") + 1).cast(pl.Int64).alias("st_num"),
        pl.col("sq_num").cast(pl.Int64),
        pl.lit(2_000, pl.Int64).alias("time_allowed_to_live_ms"),
        pl.lit(1, pl.Int64).alias("conf_rev"),
        pl.Series(chance.random(len(frame)) < 0.0005).alias("simulation"),
        pl.lit(False).alias("nds_com"),
        pl.lit(4, pl.Int32).alias("num_entries"),
        data.alias("data"),
    ).sort("received_time")
    schema = contract(_TOPIC).polars
    return made.select(
        pl.col(name) if name in made.columns else pl.lit(None, kind).alias(name) for name, kind in schema.items()
    )


def decoder_alone(frame: pl.DataFrame) -> float:
    """Seconds of CPU that decoding the messages from Avro takes, each."""
    registry = LocalRegistry()
    values = Encoder(contract(_TOPIC), registry.id_of(contract(_TOPIC))).encode(frame)
    keys = [one.encode() for one in frame["ied_id"]]
    decoder = Decoder(contract(_TOPIC), registry.by_id)
    decoder.decode(keys[:1000], values[:1000])
    begin = time.process_time()
    decoder.decode(keys, values)
    return (time.process_time() - begin) / frame.height


def bench_ied(folder: Path, rounds: int, replay: Callable[[str, Path, Path], dict[str, float]]) -> None:
    """Print messages a second of the replay, its ratio to the decoder alone, and the memory of a short and a long one.

    Args:
        folder: for the files.
        rounds: how often.
        replay: times the replay of (flow, input, output).
    """
    inputs = {}
    for name, beats in (("short", 100), ("long", 400)):
        (folder / f"ied-{name}").mkdir()
        frame = ied_messages(beats)
        frame.write_parquet(folder / f"ied-{name}" / f"{_TOPIC}.parquet", row_group_size=200_000)
        inputs[name] = frame.height
    sample = frame.head(_DECODED)
    del frame
    table = Table(
        title=f"ied-supervision: replay of {inputs['long']:,} messages of {BLOCKS:,} control blocks, one worker"
    )
    columns = ("round", "messages / s", "per CPU second", "without the start", "decoder alone / CPU s", "ratio")
    for name in (*columns, "MiB short", "MiB long"):
        table.add_column(name, justify="right")
    for number in range(rounds):
        used = {
            name: replay("ied-supervision", folder / f"ied-{name}", folder / f"ied-out-{number}") for name in inputs
        }
        alone = 1 / decoder_alone(sample)
        more = inputs["long"] - inputs["short"]
        net = more / (used["long"]["cpu"] - used["short"]["cpu"])
        table.add_row(
            str(number + 1),
            f"{inputs['long'] / used['long']['wall']:,.0f}",
            f"{inputs['long'] / used['long']['cpu']:,.0f}",
            f"{net:,.0f}",
            f"{alone:,.0f}",
            f"{net / alone:.2f}",
            f"{used['short']['MiB']:,.0f}",
            f"{used['long']['MiB']:,.0f}",
        )
    out.print(table)
