"""A small BERT-like encoder learns to classify sentences; its compiled code fails when it runs.

The training step compiles without complaint. The ReLU of the classification head, the only one of
the model, raises ReluRuntimeError at the first step. The backend is one of the faulty ones that
torchcrux installs, so the script runs anywhere, but only where torchcrux is installed.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class SelfAttention(nn.Module):
    def __init__(self, hidden, heads, dropout):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)

    def split_heads(self, x):
        return x.view(x.size(0), x.size(1), self.heads, -1).transpose(1, 2)

    def forward(self, x, mask):
        q, k, v = (self.split_heads(f(x)) for f in (self.query, self.key, self.value))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1)) + mask
        probs = self.dropout(F.softmax(scores, dim=-1))
        context = (probs @ v).transpose(1, 2).flatten(2)
        return self.output(context)


class Layer(nn.Module):
    def __init__(self, hidden, heads, dropout):
        super().__init__()
        self.attention = SelfAttention(hidden, heads, dropout)
        self.attention_norm = nn.LayerNorm(hidden, eps=1e-12)
        self.intermediate = nn.Linear(hidden, 4 * hidden)
        self.output = nn.Linear(4 * hidden, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, mask):
        x = self.attention_norm(x + self.dropout(self.attention(x, mask)))
        h = self.output(F.gelu(self.intermediate(x)))
        return self.output_norm(x + self.dropout(h))


class BertForSequenceClassification(nn.Module):
    def __init__(self, vocab=2000, hidden=128, layers=6, heads=4, labels=3, dropout=0.1):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab, hidden, padding_idx=0)
        self.position_embeddings = nn.Embedding(128, hidden)
        self.embedding_norm = nn.LayerNorm(hidden, eps=1e-12)
        self.layers = nn.ModuleList(Layer(hidden, heads, dropout) for _ in range(layers))
        self.pre_classifier = nn.Linear(hidden, hidden)
        self.classifier = nn.Linear(hidden, labels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input_ids, attention_mask):
        positions = torch.arange(input_ids.size(1), device=input_ids.device)
        x = self.word_embeddings(input_ids) + self.position_embeddings(positions)
        x = self.dropout(self.embedding_norm(x))
        mask = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        for layer in self.layers:
            x = layer(x, mask)
        pooled = self.dropout(F.relu(self.pre_classifier(x[:, 0])))
        return self.classifier(pooled)


def random_batch(device, size=8, length=48):
    input_ids = torch.randint(1, 2000, (size, length), device=device)
    lengths = torch.randint(length // 2, length + 1, (size, 1), device=device)
    attention_mask = (torch.arange(length, device=device) < lengths).long()
    labels = torch.randint(3, (size,), device=device)
    return input_ids * attention_mask, attention_mask, labels


def main():
    torch.manual_seed(0)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    model = BertForSequenceClassification().to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)

    @torch.compile(backend="torchcrux_relu_runtime_error")
    def loss_of(input_ids, attention_mask, labels):
        return F.cross_entropy(model(input_ids, attention_mask), labels)

    for step in range(3):
        loss = loss_of(*random_batch(device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {step}: loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
