"""The sum of gradients over ranks, taken bucket by bucket while the last backward pass is still running.

Why not torch's DistributedDataParallel: its buckets are rebuilt after the first backward pass of each process, so that
with three or more ranks a resumed run would add in another order than the run that never stopped; and a rank that runs
out of memory in the middle of a backward pass cannot try again, since its buckets may be on their way. Here the layout
depends on the model alone, and a bucket is sent only when its gradients are final, so the rest can be computed again.

Gradients live in flat buffers, one per bucket; every parameter's `grad` is a view of its place there. The buffers hold
sums over ranks, not means: the caller puts the weight of each clip into its loss, so shares may be uneven.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from vdt_hpc.dist import ProcessGroup, Work

BUCKET_BYTES = 25 * 2**20
"""Bytes of gradients that travel together: large enough for the network's speed, small enough to overlap."""


class GradientSum:
    """The gradients of a model's parameters, summed over the ranks of a group.

    Args:
        parameters: in the order of the model; the last ones get their gradients first.
        group: the ranks.
        bucket_bytes: bytes of one bucket; a larger parameter has one to itself.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], group: ProcessGroup, bucket_bytes: int = BUCKET_BYTES
    ) -> None:
        self._group = group
        self._buckets = [_Bucket(members) for members in _bucketed(parameters, bucket_bytes)]
        self._last_pass = False
        for bucket in self._buckets:
            for parameter in bucket.members:
                parameter.register_post_accumulate_grad_hook(partial(self._arrived, bucket))

    def begin(self) -> None:
        """Start again from zero. Buckets that are already on their way are final, and stay as they are."""
        self._last_pass = False
        for bucket in self._buckets:
            bucket.begin()

    def last_pass(self) -> None:
        """The next backward pass is the last one: send each bucket as soon as all its gradients have arrived."""
        self._last_pass = True
        for bucket in self._buckets:
            bucket.num_missing = len(bucket.members)

    def finish(self) -> None:
        """Send what is left, and wait until all ranks' gradients are summed; every rank must call it."""
        for bucket in self._buckets:
            bucket.send(self._group)
        for bucket in self._buckets:
            bucket.receive()

    def clip(self, limit: float | None) -> Tensor:
        """Norm of all gradients, in their dtype; then they are scaled so that it is at most `limit`."""
        norm = torch.linalg.vector_norm(
            torch.stack([torch.linalg.vector_norm(bucket.flat) for bucket in self._buckets])
        )
        if limit is not None:
            scale = (limit / (norm + 1e-6)).clamp(max=1.0)
            for bucket in self._buckets:
                bucket.flat.mul_(scale)
        return norm

    def _arrived(self, bucket: "_Bucket", _: Tensor) -> None:
        """Called by autograd when a parameter's gradient of the running pass has been added."""
        if not self._last_pass:
            return
        bucket.num_missing -= 1
        # Every rank must send in the same order: a bucket waits for those before it.
        for earlier in self._buckets:
            if earlier.num_missing > 0:
                return
            earlier.send(self._group)


class _Bucket:
    """Some parameters whose gradients travel together."""

    def __init__(self, members: list[nn.Parameter]) -> None:
        self.members = members
        self.flat = members[0].new_zeros(sum(parameter.numel() for parameter in members), requires_grad=False)
        views = self.flat.split([parameter.numel() for parameter in members])
        self._views = [view.view_as(parameter) for view, parameter in zip(views, members, strict=True)]
        self._work: Work | None = None
        self.num_missing = len(members)

    def begin(self) -> None:
        if self._work is None:
            self.flat.zero_()
            self._attach()
        else:  # on its way: what another pass computes for these parameters goes elsewhere, and is forgotten
            for parameter in self.members:
                parameter.grad = None

    def send(self, group: ProcessGroup) -> None:
        if self._work is None:
            self._work = group.start_sum(self.flat)

    def receive(self) -> None:
        assert self._work is not None
        self._work.wait()
        self._work = None
        self._attach()

    def _attach(self) -> None:
        for parameter, view in zip(self.members, self._views, strict=True):
            parameter.grad = view


def _bucketed(parameters: Sequence[nn.Parameter], bucket_bytes: int) -> list[list[nn.Parameter]]:
    """Parameters from the last to the first, in lists of about `bucket_bytes`."""
    buckets: list[list[nn.Parameter]] = []
    room = 0
    for parameter in reversed(parameters):
        num_bytes = parameter.numel() * parameter.element_size()
        if not buckets or num_bytes > room:
            buckets.append([])
            room = bucket_bytes
        buckets[-1].append(parameter)
        room -= num_bytes
    return buckets
