"""Writes `events` with the package tensorboard (2.21.0): what `TensorBoardLog` writes of the same numbers must be the same bytes.

    python make.py
"""
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

STEPS = [(0, {"loss/total": 1.5, "latents/dead": 0.0}), (1, {"loss/total": -0.1}), (300, {"loss/total": float("inf")})]
with open(Path(__file__).parent / "events", "wb") as file:
    writer = RecordWriter(file)
    time = 1700000000.25
    writer.write(Event(wall_time=time, file_version="brain.Event:2").SerializeToString())
    for step, numbers in STEPS:
        time += 0.5
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in numbers.items()]
        writer.write(Event(wall_time=time, step=step, summary=Summary(value=values)).SerializeToString())
