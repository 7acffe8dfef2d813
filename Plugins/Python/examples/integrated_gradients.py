"""Integrated gradients along the straight path from x̂ without any latent to x̂: questions to the model."""
from typing import Annotated

import numpy

from dmsae import Setting, scorer


@scorer(needs=["evaluation"], scale_invariant=True)
def ig(batch, steps: Annotated[int, Setting(1, 1000, help="Gradients along the path")] = 8):
    """-a·⟨ḡ, w⟩, ḡ the mean gradient while all latents come in together"""
    end = batch.reconstruction
    base = end - batch.decoded()
    paths = [(s, base[batch.sequence(s)], end[batch.sequence(s)]) for s in range(batch.sequence_count)]
    means = batch.gradients_along(paths, (numpy.arange(steps) + 0.5) / steps, numpy.full(steps, 1 / steps))
    return -batch.activations * batch.inner(means.reshape(batch.token_count, -1), batch.decoder)
