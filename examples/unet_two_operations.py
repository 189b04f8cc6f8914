"""A U-Net removes noise from images, under a memory planner that its author is still writing.

The planner is a backend of torch.compile that is defined in this script. It lays the buffers of a
graph out in blocks, knows one block size per graph, and gives up with PlannerError when one
operation folds space into channels by 2 (the stem) and another unfolds it by 4 (the head).
"""

from itertools import pairwise

import torch
import torch.nn as nn
import torch.nn.functional as F


class PlannerError(Exception):
    """The planner has no layout for this graph."""


class MemoryPlanner:
    """Finds out how long each value of a graph lives, and in which slot of the arena."""

    def __init__(self, graph):
        self.graph = graph
        self.last_use = {arg: node for node in graph.nodes for arg in node.all_input_nodes}

    def block_size(self):
        size = 1
        for node in self.graph.nodes:
            if node.target in (torch.pixel_unshuffle, torch.pixel_shuffle):
                factor = node.args[1]
                if size not in (1, factor):
                    raise PlannerError(f"blocks of {factor} in an arena with blocks of {size}")
                size = factor
        return size

    def slots(self):
        free, taken, count = [], {}, 0
        for node in self.graph.nodes:
            if not free:
                free.append(count)
                count += 1
            taken[node] = free.pop()
            free += [taken[a] for a in node.all_input_nodes if self.last_use[a] is node]
        return taken


def memory_planner(gm, example_inputs):
    planner = MemoryPlanner(gm.graph)
    block, slots = planner.block_size(), planner.slots()
    print(f"planned {len(slots)} values in {len(set(slots.values()))} slots, blocks of {block}")
    return gm.forward


class DoubleConv(nn.Sequential):
    def __init__(self, in_channels, out_channels):
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.GroupNorm(8, out_channels),
            nn.SiLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.GroupNorm(8, out_channels),
            nn.SiLU(),
        )


class Up(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.reduce = nn.Conv2d(in_channels, out_channels, 1)
        self.conv = DoubleConv(2 * out_channels, out_channels)

    def forward(self, x, skip):
        x = F.interpolate(self.reduce(x), size=skip.shape[-2:], mode="nearest")
        return self.conv(torch.cat([skip, x], dim=1))


class UNet(nn.Module):
    def __init__(self, channels=3, widths=(32, 64, 128, 256)):
        super().__init__()
        self.stem = DoubleConv(4 * channels, widths[0])
        self.down = nn.ModuleList(DoubleConv(a, b) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Up(b, a) for b, a in pairwise(widths[::-1]))
        self.head = nn.Conv2d(widths[0], 16 * channels, 1)

    def forward(self, x):
        y = self.stem(F.pixel_unshuffle(x, 2))
        skips = []
        for down in self.down:
            skips.append(y)
            y = down(F.max_pool2d(y, 2))
        for up in self.up:
            y = up(y, skips.pop())
        noise = F.pixel_shuffle(self.head(y), 4)
        return x - F.avg_pool2d(noise, 2)


def main():
    torch.manual_seed(0)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    model = UNet().to(device).eval()
    images = torch.rand(2, 3, 64, 64, device=device)

    denoise = torch.compile(model, backend=memory_planner)
    with torch.inference_mode():
        clean = denoise(images)
    print("mean pixel:", clean.mean().item())


if __name__ == "__main__":
    main()
