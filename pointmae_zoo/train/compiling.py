"""``torch.compile`` where it pays: the transformer blocks, which are where the time goes.

They are alike, so that a few graphs serve all of them. Grouping, masks and losses in between have kernels of
their own, which the compiler can't look into.
"""

import torch
import torch._dynamo.config as dynamo_config
import torch._functorch.config as functorch_config
from torch import nn

from pointmae_zoo.models.layers import Block
from pointmae_zoo.models.teacher.image_teacher import Teacher

_GRAPHS = 64
"""The most of one function: a level's width and number of tokens, with a mask or without, with drop path or
without, with gradients or without; torch's own limit is 8, beyond which it gives up without a word."""


def compile_blocks(model: nn.Module, *, backward_once: bool) -> None:
    """Compile a model's transformer blocks, in place; a model without any as a whole.

    On a CPU the number of visible tokens is another one in every batch, and one graph serves them all;
    elsewhere it depends on the configuration alone, and every graph is made for one.

    Args:
        backward_once: what the forward pass has left for the backward pass may be overwritten by it, which
            saves memory. False forbids it in this process from now on.
    """
    if not backward_once:
        functorch_config.donated_buffer = False
    dynamo_config.cache_size_limit = max(_GRAPHS, dynamo_config.cache_size_limit)
    dynamic = None if next(model.parameters()).device.type == "cpu" else False
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    shared = torch.compile(Block.residuals, dynamic=dynamic)
    for block in blocks:
        block.compiled = shared
    if not blocks:
        model.compile(dynamic=dynamic)


def compile_teacher(teacher: Teacher) -> None:
    """Compile the blocks of a plain transformer, in place, but for the last, whose attention is read. Other
    networks stay as they are."""
    if teacher.is_transformer:
        for block in teacher.network.blocks[:-1]:
            block.compile(dynamic=False)
