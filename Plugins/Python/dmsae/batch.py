"""What one call of a scorer sees: Include/dmsae/scorer.h, as numpy arrays."""
import numpy

from . import asking

#: Blocks of a batch's message, and what lies behind them.
BLOCKS = 18


class Plan:
    """What is known of a pass before its first batch."""

    def __init__(self, header):
        #: m, candidate latents.
        self.latent_count = header["latentCount"]
        #: d, numbers in a row of the residual stream.
        self.dimension = header["dimension"]
        #: Sequences and tokens of the whole pass.
        self.sequence_count = header["sequenceCount"]
        self.token_count = header["tokenCount"]
        #: The core is the latents before this one.
        self.core_count = header["coreCount"]
        self.error_term_added = header["errorTermAdded"]
        #: Groups that the whole pass may ask for; None without a limit.
        self.evaluation_budget = header.get("evaluationBudget")
        #: How often every batch is given, and which of the passes this is, from 0.
        self.pass_count = header["passCount"]
        self.pass_index = header["pass"]


class Batch:
    """A few whole sequences, one after the other: N tokens, m candidate latents, d dimensions, S sequences, E entries.

    Arrays lie where dmsae put them, read-only and not copied; `torch.from_numpy` takes them as they are.
    """

    def __init__(self, header, arena, asked, needs):
        codes = header["codes"]
        self._header, self._arena, self._asked, self._needs = header, arena, asked, needs
        self._cache = {}
        self.token_count = N = codes["rows"]
        self.latent_count = m = codes["columns"]
        self.dimension = d = header["dimension"]
        self.sequence_count = S = header["sequenceCount"]
        #: [N + 1] where the entries of each token begin.
        self.row_offsets = arena.array(1, numpy.int64, (N + 1,))
        self.entry_count = E = int(self.row_offsets[-1])
        #: [E] the latent of each entry, and its activation a > 0; tokens in order.
        self.latents = arena.array(2, numpy.int32, (E,))
        self.activations = arena.array(3, numpy.float32, (E,))
        #: W_dec [m, d], rows of any norm, and b_dec [d].
        self.decoder = arena.array(4, numpy.float32, (m, d))
        self.decoder_bias = arena.array(5, numpy.float32, (d,))
        #: x and x̂ [N, d]: the model's own residual stream, and what was spliced in.
        self.residual = arena.array(6, numpy.float32, (N, d))
        self.reconstruction = arena.array(7, numpy.float32, (N, d))
        #: [N] nats, of token t predicting t + 1; 0 at the last token of a sequence.
        self.loss = arena.array(9, numpy.float32, (N,))
        self.token_ids = arena.array(10, numpy.int32, (N,))
        #: [S + 1] first token of each sequence, and N.
        self.sequence_offsets = arena.array(11, numpy.int64, (S + 1,))
        #: [N] whether x̂ was spliced in there; where not, there are no entries.
        self.scored = arena.array(12, numpy.bool_, (N,))
        self.prefix_widths = arena.array(13, numpy.int64, (header["prefixCount"],))
        #: First token of each document, and N.
        self.document_offsets = arena.array(18, numpy.int64, (header["documentCount"] + 1,))
        #: Index of token 0 and of sequence 0 in the whole pass.
        self.first_token = header["firstToken"]
        self.first_sequence = header["firstSequence"]
        #: The core is the latents before this one.
        self.core_count = header["coreCount"]
        #: How many latents x̂ is made of, from the first.
        self.spliced_width = header["splicedWidth"]
        #: Whether the SAE's error x - x̂ was added back, held constant.
        self.error_term_added = header["errorTermAdded"]
        #: TransformerLens' name of the place of x, as "blocks.15.hook_resid_post".
        self.hook = header["hook"]
        #: Whether the SAE takes b_dec from x before it encodes.
        self.subtracts_decoder_bias = header["subtractsDecoderBias"]

    def _needed(self, need, what):
        if need not in self._needs:
            all_needs = ", ".join('"%s"' % known for known in list(self._needs) + [need])
            raise asking.HostError("%s is for a scorer that says so: @scorer(needs=[%s])" % (what, all_needs))

    @property
    def gradient(self):
        """g [N, d]: ∂(Σ losses of the sequence)/∂x̂, nats per unit of x̂. Needs "gradient"."""
        self._needed("gradient", "the gradient")
        return self._arena.array(8, numpy.float32, (self.token_count, self.dimension))

    def _encoder(self, block, shape):
        self._needed("encoder", "the SAE's encoder")
        return self._arena.array(block, numpy.float32, shape)

    @property
    def encoder(self):
        """W_enc [m, d], row j is latent j's. Needs "encoder"."""
        return self._encoder(14, (self.latent_count, self.dimension))

    @property
    def encoder_bias(self):
        """b_enc [m]. Needs "encoder"."""
        return self._encoder(15, (self.latent_count,))

    @property
    def thresholds(self):
        """θ [m]: f = p where p > max(0, θ); None where rank decides. Needs "encoder"."""
        self._needed("encoder", "the SAE's encoder")
        return None if self.top_k > 0 else self._encoder(16, (self.latent_count,))

    @property
    def top_k(self):
        """k, where the k largest of a token are kept, of all latents of the SAE; 0 where thresholds decide. Needs "encoder"."""
        self._needed("encoder", "the SAE's encoder")
        return self._header["topK"]

    @property
    def target_probabilities(self):
        """[N] of token t + 1 after token t, by the model as it is. Needs "target_probabilities"."""
        self._needed("target_probabilities", "how probable the model finds tokens")
        return self._arena.array(17, numpy.float32, (self.token_count,))

    def _once(self, name, make):
        if name not in self._cache:
            self._cache[name] = make()
        return self._cache[name]

    @property
    def rows(self):
        """[E] the token of each entry."""
        counts = numpy.diff(self.row_offsets)
        return self._once("rows", lambda: numpy.repeat(numpy.arange(self.token_count), counts))

    @property
    def decoder_norms(self):
        """[m] |W_dec[j]|."""
        return self._once("norms", lambda: numpy.linalg.norm(self.decoder, axis=1))

    def inner(self, rows, directions):
        """[E] ⟨rows[t], directions[j]⟩ of every entry (t, j): of rows [N, d] and directions [m, d].

        By products of a few tokens with all directions, which is faster than fetching two rows for each entry. In double where
        one of the two is, else in float.
        """
        N, m = self.token_count, self.latent_count
        dtype = numpy.result_type(rows, directions, numpy.float32)
        result = numpy.empty(self.entry_count, dtype)
        step = max(1, (1 << 20) // max(m, 1))
        directions = numpy.ascontiguousarray(directions, dtype).T
        for first in range(0, N, step):
            end = min(N, first + step)
            a, b = self.row_offsets[first], self.row_offsets[end]
            if a < b:
                products = numpy.asarray(rows[first:end], dtype) @ directions
                result[a:b] = products[self.rows[a:b] - first, self.latents[a:b]]
        return result

    def by_latent(self, values):
        """[m] the sums over entries of values [E], in double."""
        return numpy.bincount(self.latents, numpy.asarray(values, numpy.float64), minlength=self.latent_count)

    def decoded(self, values=None):
        """[N, d] Σ_j values·W_dec[j] over the entries of each token (activations, if none are given): their part of x̂."""
        values = self.activations if values is None else values
        result = numpy.zeros((self.token_count, self.dimension), numpy.result_type(values, numpy.float32))
        for t in range(self.token_count):
            entries = slice(self.row_offsets[t], self.row_offsets[t + 1])
            result[t] = values[entries] @ self.decoder[self.latents[entries]]
        return result

    def dense(self, values=None):
        """[N, m] with values [E] (activations, if none are given) at the entries and 0 elsewhere."""
        result = numpy.zeros((self.token_count, self.latent_count), numpy.float32)
        result[self.rows, self.latents] = self.activations if values is None else values
        return result

    def sequence(self, s):
        """The tokens of sequence s, as a slice of whatever has N rows."""
        return slice(int(self.sequence_offsets[s]), int(self.sequence_offsets[s + 1]))

    # Questions to the model; evaluation.h says what each one is.

    def losses(self, groups, metric=None, per_token=False):
        """[G] by how much the loss of a sequence changes, in nats, under edits of x̂ that act together.

        A group is (sequence, [edits]); an edit is `Ablate`, `Scale`, `Set` or `Rows`. With `per_token` also [G, T] losses.
        With another `metric` (`Divergence`, `LogitDifference`, `Direction`, `Loss` with weights) that is measured.
        """
        return self._asking.losses(groups, metric, per_token)

    def gradients(self, points, metric=None, rule="plain"):
        """[P] losses and [P, T, d] gradients at other reconstructions; a point is (sequence, rows [T, d]).

        `rule` is what the backward pass takes for constant: "plain", "relp", "relp-pattern", "attention-only".
        """
        return self._asking.gradients(points, metric, rule)

    def gradients_along(self, paths, alphas, weights, metric=None, rule="plain"):
        """[P, T, d] Σ_i weights[i]·g(base + alphas[i]·(end - base)); a path is (sequence, base [T, d], end [T, d])."""
        return self._asking.gradients_along(paths, alphas, weights, metric, rule)

    def mean_activations(self):
        """[m] mean activations over the scored tokens of the whole pass, and how many tokens those are."""
        return self._asking.mean_activations()

    @property
    def head(self):
        """The end of the model: `head.rows(tokens)` and `head.scales()`."""
        return asking.Head(self._asking)

    @property
    def preferred_groups(self):
        """How many groups a question should carry to be cheap."""
        return self._asking.preferred_groups

    @property
    def remaining_groups(self):
        """How many groups may still be asked for in this pass; None without a limit."""
        return self._asking.remaining_groups

    @property
    def _asking(self):
        self._needed("evaluation", "an answer of the model")
        return self._once("asking", lambda: asking.Asking(self, self._header, self._asked))
