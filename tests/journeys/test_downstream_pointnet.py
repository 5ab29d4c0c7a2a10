"""The supervised PointNet that fine-tuned encoders are compared with."""

import numpy as np
import torch
from torch import nn

from model_cards.pointnet import PointNet


def small(num_classes: int = 3) -> PointNet:
    torch.manual_seed(0)
    return PointNet(num_classes, point_widths=(8, 16), head_widths=(12,))


def test_as_many_parameters_as_the_paper_says() -> None:
    # Table 6: 0.8 M in "PointNet (vanilla)", 40 classes.
    numbers = sum(parameter.numel() for parameter in PointNet(40).parameters())
    assert round(numbers / 1e6, 1) == 0.8


def test_logits_equal_layers_by_hand() -> None:
    model = small().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    points = torch.randn(2, 30, 3)

    def linear(part: nn.Linear, x: np.ndarray) -> np.ndarray:
        return x @ part.weight.detach().double().numpy().T + part.bias.detach().double().numpy()

    def layer(first: nn.Linear, norm: nn.BatchNorm1d, x: np.ndarray) -> np.ndarray:
        mean, var = norm.running_mean.double().numpy(), norm.running_var.double().numpy()
        return np.maximum((linear(first, x) - mean) / np.sqrt(var + norm.eps), 0.0)

    expected = []
    for cloud in points.double().numpy():
        x = layer(model.points[0], model.points[1], cloud)
        x = layer(model.points[3], model.points[4], x).max(axis=0)
        x = layer(model.head[0], model.head[1], x)
        expected.append(linear(model.get_classifier(), x))
    np.testing.assert_allclose(model(points).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_order_and_repetition_of_points_mean_nothing() -> None:
    model = small().eval()
    points = torch.randn(2, 40, 3)
    turned = torch.cat([points.flip(1), points[:, :7]], dim=1)
    torch.testing.assert_close(model(turned), model(points))


def test_it_learns_by_heart() -> None:
    torch.manual_seed(0)
    model = small()
    points, labels = torch.randn(12, 20, 3), torch.arange(12) % 3
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(300):
        loss = nn.functional.cross_entropy(model(points), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert bool((model.eval()(points).argmax(1) == labels).all())
