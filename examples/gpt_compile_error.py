"""A 12-layer GPT computes logits for a batch of prompts, and Inductor cannot build one kernel.

All blocks use GELU except one, which has the squared ReLU of a newer recipe. Inductor's own planted
bug makes that ReLU invalid code, so torch.compile ends with the error of the C++ compiler (on a
GPU: with the error of a Triton kernel that is not valid Python).
"""

from dataclasses import dataclass

import torch
import torch._inductor.config as inductor_config
import torch.nn as nn
import torch.nn.functional as F

inductor_config.cpp.inject_relu_bug_TESTING_ONLY = "compile_error"
inductor_config.triton.inject_relu_bug_TESTING_ONLY = "compile_error"


@dataclass
class GPTConfig:
    block_size: int = 128
    vocab_size: int = 4096
    n_layer: int = 12
    n_head: int = 6
    n_embd: int = 192
    squared_relu_layers: tuple[int, ...] = (7,)


class CausalSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.c_attn(x).split(C, dim=2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = y.transpose(1, 2).contiguous().view(B, T, C)
        return self.c_proj(y)


class MLP(nn.Module):
    def __init__(self, config, squared_relu):
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd)
        self.squared_relu = squared_relu

    def forward(self, x):
        x = self.c_fc(x)
        x = F.relu(x).square() if self.squared_relu else F.gelu(x, approximate="tanh")
        return self.c_proj(x)


class Block(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = MLP(config, squared_relu=layer in config.squared_relu_layers)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.wte.weight = self.lm_head.weight

    def forward(self, idx):
        position = torch.arange(idx.size(1), device=idx.device)
        x = self.wte(idx) + self.wpe(position)
        for block in self.blocks:
            x = block(x)
        return self.lm_head(self.ln_f(x))


def main():
    torch.manual_seed(1337)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    config = GPTConfig()
    model = GPT(config).to(device).eval()
    idx = torch.randint(config.vocab_size, (4, 64), device=device)

    model = torch.compile(model)
    with torch.no_grad():
        logits = model(idx)
    print("next tokens:", logits[:, -1].argmax(dim=-1).tolist())


if __name__ == "__main__":
    main()
