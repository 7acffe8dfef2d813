"""Gradient × activation, as the shipped scorer `gxa` computes it: by numpy, in float where that is in Double."""
import numpy

from dmsae import scorer

__version__ = "1.0"
__license__ = "Apache-2.0"


@scorer
def gxa(batch):
    """-a·⟨g, ŵ⟩: how the loss changes, to first order, along the latent's direction"""
    norms = batch.decoder_norms
    # A zero row has no direction and adds nothing to x̂: removing it changes no loss.
    directions = batch.decoder / numpy.where(norms > 0, norms, 1)[:, None]
    return -batch.activations * batch.inner(batch.gradient, directions)
