"""A GRU encoder and decoder with attention, as a transformers model: the network of Bahdanau et al. (2015).

D. Bahdanau, K. Cho, Y. Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", arXiv:1409.0473, called
[B] below; A. Vaswani et al., "Attention Is All You Need", arXiv:1706.03762, called [V].

What differs from [B], appendix A: the output layer is a tanh layer whose result is compared with the target's word vectors,
instead of a maxout layer with a matrix of its own, which has fewer parameters to send; and dropout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput


class AttentionSeq2SeqConfig(PretrainedConfig):
    """The sizes of the model; ``attention`` is ``additive`` or ``dot_product``."""

    model_type = "attention_seq2seq"

    source_vocabulary_size: int = 4
    target_vocabulary_size: int = 4
    attention: str = "additive"
    embedding_size: int = 256
    hidden_size: int = 512
    dropout: float = 0.2
    longest_output: int = 40
    is_encoder_decoder: bool = True


class Encoded(NamedTuple):
    """What a decoder needs of the source sentences.

    ``states`` is float of shape [batch, source, 2 * hidden], ``keys`` their projections, [batch, source, hidden], ``mask`` is
    True where a token is, [batch, source].
    """

    states: torch.Tensor
    keys: torch.Tensor
    mask: torch.Tensor


@dataclass
class Seq2SeqOutput(ModelOutput):  # type: ignore[misc]
    """What the model returns: logits [batch, target, vocabulary], and attentions [batch, target, source]."""

    logits: torch.Tensor | None = None
    attentions: torch.Tensor | None = None


class Attention(nn.Module):
    """Weighs the encoder's states h_1..h_T by the decoder's state s.

    The weights are alpha_j = softmax_j(e_j) and the context is c = sum_j alpha_j h_j ([B], eqs. 5 and 6). The scores e_j are

    - ``additive``: v^T tanh(W s + U h_j) ([B], section 3.1 and appendix A.1.2);
    - ``dot_product``: (W s)^T (U h_j) / sqrt(d), the scaled dot product of [V], eq. 1, with learned projections of queries
      and keys; the values are the states themselves, as in [B].

    Both have W and U, so that they differ in nothing but the score. U h_j does not depend on s, and is computed once.
    """

    def __init__(self, config: AttentionSeq2SeqConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.query = nn.Linear(size, size, bias=False)
        self.key = nn.Linear(2 * size, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False) if config.attention == "additive" else None

    def forward(self, state: torch.Tensor, encoded: Encoded) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the context, [batch, 2 * hidden], and the weights, [batch, source]; padding has none."""
        query = self.query(state).unsqueeze(1)
        if self.score is not None:
            scores = self.score(torch.tanh(query + encoded.keys)).squeeze(-1)
        else:
            scores = (encoded.keys @ query.transpose(1, 2)).squeeze(-1) / math.sqrt(query.shape[-1])
        weights = scores.masked_fill(~encoded.mask, -math.inf).softmax(-1)
        return (weights.unsqueeze(1) @ encoded.states).squeeze(1), weights


class AttentionSeq2Seq(PreTrainedModel):
    """Translates token by token; ``save_pretrained`` and ``from_pretrained`` are those of transformers."""

    config_class = AttentionSeq2SeqConfig
    base_model_prefix = ""
    main_input_name = "input_ids"

    def __init__(self, config: AttentionSeq2SeqConfig) -> None:
        super().__init__(config)
        if config.attention not in ("additive", "dot_product"):
            raise ValueError(f"attention must be additive or dot_product, not {config.attention!r}")
        embedding, hidden = config.embedding_size, config.hidden_size
        self.source_embedding = nn.Embedding(config.source_vocabulary_size, embedding)
        self.target_embedding = nn.Embedding(config.target_vocabulary_size, embedding)
        for table in (self.source_embedding, self.target_embedding):
            # The target's vectors are the output layer as well: logits start at about unit scale, and so do the GRUs' inputs,
            # which are these vectors times sqrt(embedding), as in [V], section 3.4.
            nn.init.normal_(table.weight, std=embedding**-0.5)
        self.scale = math.sqrt(embedding)
        self.encoder = nn.GRU(embedding, hidden, batch_first=True, bidirectional=True)
        self.first_state = nn.Linear(hidden, hidden)
        self.attention = Attention(config)
        self.decoder = nn.GRUCell(embedding + 2 * hidden, hidden)
        self.readout = nn.Linear(3 * hidden + embedding, embedding)
        self.output_bias = nn.Parameter(torch.zeros(config.target_vocabulary_size))
        self.dropout = nn.Dropout(config.dropout)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave the weights as the layers themselves have started them."""

    def encode(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[Encoded, torch.Tensor]:
        """Read source sentences.

        Parameters
        ----------
        input_ids, attention_mask : torch.Tensor of int64, shape [batch, source]
            Padded at the end; 1 where a token is. Every sentence has at least one.

        Returns
        -------
        encoded : Encoded
        state : torch.Tensor, shape [batch, hidden]
            The decoder's first one, s_0 = tanh(W h_1) of the backward GRU ([B], appendix A.2.2).
        """
        vectors = self.dropout(self.scale * self.source_embedding(input_ids))
        # Packed, so that the backward GRU begins at a sentence's own end, and not in its padding.
        lengths = attention_mask.sum(1).cpu()
        packed = pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
        states, last = self.encoder(packed)
        states, _ = pad_packed_sequence(states, batch_first=True, total_length=input_ids.shape[1])
        encoded = Encoded(states, self.attention.key(states), attention_mask.bool())
        return encoded, torch.tanh(self.first_state(last[1]))

    def step(
        self, tokens: torch.Tensor, state: torch.Tensor, encoded: Encoded
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decode one token: return logits [batch, vocabulary], the next state and the attention weights."""
        vectors = self.scale * self.target_embedding(tokens)
        state, context, weights = self._advance(vectors, state, encoded)
        return self._logits(state, context, vectors), state, weights

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, decoder_input_ids: torch.Tensor, **_: Any
    ) -> Seq2SeqOutput:
        """Score target sentences, each token given those before it (teacher forcing).

        Parameters
        ----------
        input_ids, attention_mask
            As for `encode`.
        decoder_input_ids : torch.Tensor of int64, shape [batch, target]
            The beginning of a sentence, and its tokens but for the last.
        """
        encoded, state = self.encode(input_ids, attention_mask)
        vectors = self.dropout(self.scale * self.target_embedding(decoder_input_ids))
        states, contexts, attentions = [], [], []
        for vector in vectors.unbind(1):
            state, context, weights = self._advance(vector, state, encoded)
            states.append(state)
            contexts.append(context)
            attentions.append(weights)
        logits = self._logits(torch.stack(states, 1), torch.stack(contexts, 1), vectors)
        return Seq2SeqOutput(logits=logits, attentions=torch.stack(attentions, 1))

    def _advance(
        self, vectors: torch.Tensor, state: torch.Tensor, encoded: Encoded
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Attend with the state before, then move on: s_i = GRU(s_{i-1}, [y_{i-1}; c_i]) ([B], appendix A.2.2)."""
        context, weights = self.attention(state, encoded)
        return self.decoder(torch.cat([vectors, context], -1), state), context, weights

    def _logits(self, state: torch.Tensor, context: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.readout(torch.cat([state, context, vectors], -1)))
        return functional.linear(self.dropout(hidden), self.target_embedding.weight, self.output_bias)
