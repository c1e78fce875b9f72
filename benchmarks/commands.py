"""Time what this machine can run and append the numbers to a file. Without a command: `run`, then `prefill`."""

from __future__ import annotations

import typer

from benchmarks import whole_model
from benchmarks.gpu.command import gpu
from benchmarks.growth import growth
from benchmarks.methods import methods
from benchmarks.primitives import run
from benchmarks.quality.command import app as quality
from benchmarks.real_features.run import real_features
from benchmarks.report.command import compare, plot, report
from benchmarks.serving import serving
from benchmarks.tune.command import tune

app = typer.Typer(add_completion=False, invoke_without_command=True)
app.command()(run)
app.command()(whole_model.prefill)
app.command()(whole_model.decode)
app.command()(growth)
app.command()(methods)
app.command()(serving)
app.command()(real_features)
app.command()(gpu)
app.command()(report)
app.command()(compare)
app.command()(plot)
app.command()(tune)
app.add_typer(quality, name="quality")


@app.callback(help=__doc__)
def everything(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        run()
        whole_model.prefill()
