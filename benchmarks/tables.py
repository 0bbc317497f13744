"""How each benchmark is shown."""

from __future__ import annotations

from benchmarks.reporting import Figure, Ratio, Table

SENSOR = "HttpSensorTrigger"
BARE = "bare httptools"

POLLING = Table(
    "polling",
    "Waiting: one poll every 15 s, with a response after 200 ms",
    ("videos", "way"),
    (
        Figure("cpu_per_1000", "CPU s / 1,000 polls"),
        Figure("memory_per_video", "peak KB / video", 1),
        Figure("sockets", "sockets", 0),
        Figure("connections", "connections made", 0),
        Figure("kept_up", "polls done / due"),
        Figure("lag_p50", "lag p50 ms", 1),
        Figure("lag_p99", "p99", 1),
        Figure("lag_max", "max", 0),
        Figure("errors", "errors", 0),
        Figure("server_cpu", "server CPU"),
        Figure("others_cpu", "others' CPU"),
        Figure("what", "which errors"),
    ),
    (Ratio("cpu_per_1000", SENSOR, "CPU x sensor"), Ratio("cpu_per_1000", BARE, "CPU x bare")),
)
BURST = Table(
    "burst",
    "Burst: all polls due at the same moment",
    ("videos", "way"),
    (Figure("drained", "drained after s"), *POLLING.figures),
    POLLING.ratios,
)
REFUSALS = Table(
    "refusals",
    "Requests for one video in 20 s of refusals, with an interval of 5 s",
    ("answer", "way"),
    (Figure("requests", "requests", 0),),
)
DETECTION = Table(
    "detection",
    "When the end of a video is detected (simulated)",
    ("median", "way"),
    (Figure("delay", "mean delay s"), Figure("delay_p95", "p95 s", 1), Figure("polls", "polls / video", 1)),
    (Ratio("delay", "fixed 15 s", "delay ratio"), Ratio("polls", "fixed 15 s", "polls ratio")),
)
RECEIPTS = Table(
    "receipts",
    "100 submissions with lost responses, found in the billing log (simulated)",
    ("way",),
    (
        Figure("found", "found", 0),
        Figure("billed", "billed, without a video", 0),
        Figure("unknown", "unknown", 0),
        Figure("billed_twice", "billed twice", 0),
        Figure("foreign", "foreign video", 0),
        Figure("seconds", "s each", 1),
        Figure("requests", "log requests each", 1),
    ),
)
BATCH = Table(
    "batch",
    "One batch, by the number of its rows (AnyFast in memory)",
    ("way", "rows"),
    (
        Figure("segments", "segments", 0),
        Figure("flushes", "writes of the manifest", 0),
        Figure("asked", "polls", 0),
        Figure("cpu", "CPU s", 1),
        Figure("seconds", "s", 1),
        Figure("us_a_row", "CPU µs / row", 0),
        Figure("exponent", "exponent of growth"),
        Figure("idle_ms", "CPU ms of a segment with nothing to do", 0),
        Figure("flush_us", "µs / row of a write", 1),
        Figure("loop_held", "trigger's start blocks the loop, ms", 0),
    ),
)
PAGE = Table(
    "page",
    "The Videos page on the API server",
    ("way",),
    (Figure("seconds", "s"), Figure("mb", "MB sent", 1), Figure("memory", "peak MB over base", 1)),
)
SUBMITTING = Table(
    "submitting",
    "Submissions to a server that accepts 20 a second",
    ("submissions", "processes", "callers", "way"),
    (
        Figure("accepted", "accepted", 0),
        Figure("requests", "requests sent", 0),
        Figure("requests_each", "requests / submission"),
        Figure("last", "last accepted after s", 1),
        Figure("to_ideal", "x ideal time"),
    ),
)
FILES = Table(
    "files",
    "Files: 50 MiB up, 200 MiB down",
    ("direction", "way"),
    (
        Figure("mb_a_second", "MB/s", 0),
        Figure("memory", "peak MB over base", 1),
        Figure("cpu", "CPU s"),
        Figure("server_cpu", "server CPU"),
    ),
    (Ratio("mb_a_second", "curl", "x curl"),),
)
IMPORTS = Table(
    "imports",
    "Import beyond `airflow.sdk`'s BaseOperator and BaseHook",
    ("way",),
    (
        Figure("own", "CPU ms without garbage collection", 0),
        Figure("collecting", "garbage collection ms", 0),
        Figure("milliseconds", "CPU ms in all", 0),
    ),
    (Ratio("own", "Airflow's providers.http.operators.http", "x Airflow's HttpOperator"),),
)
SINGLE = Table(
    "single",
    "One video of 10 s on a real scheduler, triggerer and API server, without `poll_interval`",
    ("way",),
    (Figure("late", "s from the video's end to the run's", 1), Figure("wall", "wall s", 1), Figure("state", "state")),
)
VIDEOS = Table(
    "videos",
    "End to end on a real scheduler, triggerer and API server",
    ("videos", "way"),
    (
        Figure("wall", "wall s", 0),
        Figure("cpu", "CPU s", 0),
        Figure("cpu_beyond_idle", "CPU s beyond idle", 0),
        Figure("worker_starts", "worker starts", 0),
        Figure("billed", "billed", 0),
        Figure("state", "state"),
    ),
    (Ratio("cpu_beyond_idle", "mapped HttpOperator + HttpSensor", "CPU x HttpOperator"),),
)
