"""Rebuild a fine-tuned file from a bundle of a tiny segmentation network, to train on from it.

    python examples/checkpoint_of_bundle.py BUNDLE DATALIST OUT.pt

Export folds norms and up-convolutions (brainmvp_export.rewrite). The file has other weights than
the one that was exported, and computes the same. Batch norms take their statistics from up to
eight studies of the datalist, so that training sees what serving does.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from brainmvp_models.task import Task
from brainmvp_training.datalist import read_datalist
from brainmvp_training.networks.build import TINY, SegmentationNetwork
from brainmvp_training.networks.decoder import UpBlock
from brainmvp_training.networks.uniformer import AttentionBlock, ConvBlock
from brainmvp_training.prepared import prepare_studies
from brainmvp_training.published import write_finetuned

STUDIES = 8


class Exported:
    """The weights of an exported graph, by name; those of its products in their order."""

    def __init__(self, path: Path) -> None:
        graph = onnx.load(path).graph
        self._arrays = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        names = (node.input[1] for node in graph.node if node.op_type == "MatMul")
        self._products = iter([self._arrays[n] for n in names if n in self._arrays])

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(np.array(self._arrays[name]))

    def product(self) -> Tensor:
        """The next linear layer's weight."""
        return torch.from_numpy(np.array(next(self._products).T))

    def turned(self, name: str) -> Tensor:
        """A kernel with its axes back in (D, H, W) order."""
        return self[name].permute(0, 1, 4, 2, 3)


def rebuilt(exported: Exported, channels: int, outputs: int) -> SegmentationNetwork:
    network = SegmentationNetwork(TINY, channels, outputs)
    with torch.no_grad():
        _set_encoder(network, exported)
        _set_decoder(network, exported)
    return network.eval()


def _set_encoder(network: SegmentationNetwork, exported: Exported) -> None:
    for stage in range(4):
        embed = network.encoder.get_submodule(f"patch_embed{stage + 1}")
        _set_embed(embed, exported, f"encoder.embeds.{stage}")
        blocks = network.encoder.get_submodule(f"blocks{stage + 1}").children()
        for index, block in enumerate(blocks):
            _set_block(block, exported, f"encoder.stages.{stage}.{index}")
    norm = network.encoder.norm
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(norm, name).copy_(exported[f"encoder.norm.{name}"])


def _set_embed(embed: nn.Module, exported: Exported, name: str) -> None:
    embed.proj.weight.copy_(exported.turned(f"{name}.proj.weight"))
    embed.proj.bias.copy_(exported[f"{name}.proj.bias"])
    embed.norm.weight.copy_(exported[f"{name}.norm.weight"].flatten())
    embed.norm.bias.copy_(exported[f"{name}.norm.bias"].flatten())


def _set_block(block: nn.Module, exported: Exported, name: str) -> None:
    position = exported.turned(f"{name}.position.weight").clone()
    position[:, 0, 1, 1, 1] -= 1
    block.pos_embed.weight.copy_(position)
    block.pos_embed.bias.copy_(exported[f"{name}.position.bias"])
    if isinstance(block, AttentionBlock):
        layers = {"attn.qkv": block.attn.qkv, "attn.proj": block.attn.proj}
        layers |= {"mlp.fc1": block.mlp.fc1, "mlp.fc2": block.mlp.fc2}
        for norm in ("norm1", "norm2"):
            for part in ("weight", "bias"):
                getattr(block.get_submodule(norm), part).copy_(exported[f"{name}.{norm}.{part}"])
        for key, layer in layers.items():
            layer.weight.copy_(exported.product())
            layer.bias.copy_(exported[f"{name}.{key}.bias"])
        return
    assert isinstance(block, ConvBlock)
    block.attn.weight.copy_(exported.turned(f"{name}.mix.weight"))
    block.attn.bias.copy_(exported[f"{name}.mix.bias"])
    same = {"conv1": block.conv1, "conv2": block.conv2, "fc1": block.mlp.fc1, "fc2": block.mlp.fc2}
    for key, conv in same.items():
        conv.weight.copy_(exported[f"{name}.{key}.weight"])
        conv.bias.copy_(exported[f"{name}.{key}.bias"])


def _set_decoder(network: SegmentationNetwork, exported: Exported) -> None:
    decoder = network.decoder
    for name in ("decoder5", "decoder4"):
        block = decoder.get_submodule(name)
        block.transp_conv.conv.weight.copy_(exported[f"decoder.{name}.up.conv.weight"])
        for part in ("conv1", "conv2", "conv3"):
            conv = block.conv_block.get_submodule(part).conv
            conv.weight.copy_(exported[f"decoder.{name}.{part}.conv.weight"])
    for name in ("decoder3", "decoder2"):
        _unfold(decoder.get_submodule(name), exported, f"decoder.{name}")
    skip = "decoder.skip"
    _set_embed(decoder.proj1, exported, skip)
    decoder.out.conv.conv.weight.copy_(exported["decoder.out.conv.conv.weight"])
    decoder.out.conv.conv.bias.copy_(exported["decoder.out.conv.conv.bias"])


def _unfold(block: UpBlock, exported: Exported, name: str) -> None:
    """An up block from its folded kernels.

    The shortcut's 1³ convolution is taken as the identity: what it did goes into the transposed
    convolution, which is then the folded kernel itself, and the 3³ convolution behind it is what
    gives the other folded kernel: linear equations, solved by least squares.
    """
    up = exported[f"{name}.up3.weight"].double()
    wide = exported[f"{name}.up1.weight"].double()
    entry, width = up.shape[:2]
    rows, columns = entry * 64, width * 27
    matrix = torch.zeros(entry, 4, 4, 4, width, 3, 3, 3, dtype=torch.float64)
    for b in torch.cartesian_prod(*[torch.arange(2)] * 3).tolist():
        for t in torch.cartesian_prod(*[torch.arange(3)] * 3).tolist():
            x, y, z = (tap - shift + 2 for tap, shift in zip(b, t, strict=True))
            matrix[:, x, y, z, :, t[0], t[1], t[2]] += up[(..., *b)]
    right = wide.permute(0, 2, 3, 4, 1).reshape(rows, width)
    solved = torch.linalg.lstsq(matrix.reshape(rows, columns), right).solution
    conv = solved.T.reshape(width, width, 3, 3, 3)
    block.transp_conv.conv.weight.copy_(up)
    joined = block.conv_block
    skip1, skip3 = exported[f"{name}.skip1.weight"], exported[f"{name}.skip3.weight"]
    joined.conv1.conv.weight.copy_(torch.cat((conv.float(), skip1), dim=1))
    identity = torch.eye(width).reshape(width, width, 1, 1, 1)
    joined.conv3.conv.weight.copy_(torch.cat((identity, skip3), dim=1))
    joined.conv2.conv.weight.copy_(exported[f"{name}.conv2.conv.weight"])


@torch.no_grad()
def calibrate(network: SegmentationNetwork, windows: list[Tensor]) -> None:
    """Give the folded batch norms the statistics of their input, and undo them again."""
    norms = [m for m in network.encoder.modules() if isinstance(m, ConvBlock)]
    for block in norms:
        for norm in (block.norm1, block.norm2):
            norm.running_var.fill_(1 - norm.eps)
    seen: dict[nn.Module, list[Tensor]] = {}
    hooks = [
        norm.register_forward_pre_hook(
            lambda module, given: seen.setdefault(module, []).append(
                torch.stack((given[0].mean((0, 2, 3, 4)), given[0].square().mean((0, 2, 3, 4))))
            )
        )
        for block in norms
        for norm in (block.norm1, block.norm2)
    ]
    for window in windows:
        network(window)
    for hook in hooks:
        hook.remove()
    for norm, moments in seen.items():
        mean, square = torch.stack(moments).mean(dim=0)
        variance = (square - mean.square()).clamp(min=1e-6)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(torch.sqrt(variance + norm.eps))
        norm.bias.copy_(mean)


def main() -> None:
    bundle, datalist, out = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    version = max(bundle.iterdir(), key=lambda path: int(path.name))
    task = Task.model_validate(json.loads((version / "manifest.json").read_text())["task"])
    network = rebuilt(Exported(version / "model.onnx"), len(task.channels), task.outputs.count)
    cases = read_datalist(datalist, "training")[:STUDIES]
    with tempfile.TemporaryDirectory() as scratch:
        studies = prepare_studies(cases, task.preprocessing, Path(scratch))
        windows = []
        for study in studies:
            corner = [max((n - 64) // 2, 0) for n in study.shape]
            cut = tuple(slice(c, c + 64) for c in corner)
            image = np.array(study.image[(slice(None), *cut)], np.float32)
            pad = [(0, 0), *((0, -n % 16) for n in image.shape[1:])]
            windows.append(torch.from_numpy(np.pad(image, pad))[None])
    before = network(windows[0])
    calibrate(network, windows)
    apart = (network(windows[0]) - before).abs().max() / before.std()
    print(f"largest change by calibration: {float(apart.detach()):.1e} deviations of the logits")
    write_finetuned(out, network.state_dict(), 0)


if __name__ == "__main__":
    main()
