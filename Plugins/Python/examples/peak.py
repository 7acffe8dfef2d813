"""Totals over the pass: what a class of scorers looks like."""
import numpy

import dmsae


@dmsae.scorer(needs=[])
class Peak:
    """The largest activation of each latent, and at how many tokens it fires

    least: Activations that are not larger do not count
    """

    least: float = 0.0

    outputs = [
        dmsae.Output("peak", "1", "Largest activation; NaN of a latent that never fires"),
        dmsae.Output("tokens", "tokens", "Tokens at which it fires"),
    ]

    def begin(self, plan):
        return {"peak": numpy.zeros(plan.latent_count), "tokens": numpy.zeros(plan.latent_count)}

    def accumulate(self, state, batch, plan):
        counts = batch.activations > self.least
        numpy.maximum.at(state["peak"], batch.latents[counts], batch.activations[counts])
        state["tokens"] += numpy.bincount(batch.latents[counts], minlength=batch.latent_count)

    def merge(self, state, other):
        state["peak"] = numpy.maximum(state["peak"], other["peak"])
        state["tokens"] += other["tokens"]

    def finish(self, state, plan):
        return {"peak": numpy.where(state["tokens"] > 0, state["peak"], numpy.nan), "tokens": state["tokens"]}
