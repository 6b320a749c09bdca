"""The non-local block, which relates every position of a feature map to every other (CVPR 2018)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class NonLocalBlock(nn.Module):
    """A non-local block in its embedded Gaussian form, with a residual connection.

    With ``x_p`` the feature at position ``p``, and embeddings with half the channels::

        y_p = sum_q softmax_q(theta(x_p) . phi(x_q)) g(x_q)
        z_p = x_p + out(y_p)

    The products are not divided by anything, and all positions take part. ``out`` is zero at first, so that
    the block starts as the identity; the other layers are initialised as by He et al., without the gain for a
    ReLU, since none follows them.

    Source: arXiv:1711.07971, equations 1, 3 and 6, and "Implementation Details" for the initial weights;
    without the batch normalisation and the subsampling that it adds for video.

    Args:
        channels: channels of the feature map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta = nn.Conv1d(channels, channels // 2, kernel_size=1)
        self.phi = nn.Conv1d(channels, channels // 2, kernel_size=1)
        self.g = nn.Conv1d(channels, channels // 2, kernel_size=1)
        self.out = nn.Conv1d(channels // 2, channels, kernel_size=1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the embeddings (Kaiming normal, fan-in) and sets the output to zero."""
        for layer in (self.theta, self.phi, self.g):
            weight, bias = layer.parameters()
            nn.init.kaiming_normal_(weight, mode="fan_in", nonlinearity="linear")
            nn.init.zeros_(bias)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        """Adds to every position what it gathers from all others.

        Args:
            features: ``N x C x P``.

        Returns:
            ``N x C x P``.
        """
        # One head, and channels last in memory: only then are the P x P products never held as a whole.
        query, key, value = (
            layer(features).transpose(1, 2).contiguous().unsqueeze(1)
            for layer in (self.theta, self.phi, self.g)
        )
        gathered = functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        added: Tensor = self.out(gathered.squeeze(1).transpose(1, 2))
        return features + added
