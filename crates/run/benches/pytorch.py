"""Seconds of an epoch of dense networks trained by PyTorch's autograd in float32, one thread, on random data of MNIST's size.

    python3 crates/run/benches/pytorch.py 784 100 10
    python3 crates/run/benches/pytorch.py 784 1000 1000 10

SGD without momentum, batches of 100 of 55,000 samples, gathered by a permutation drawn anew for each epoch; the least
of five epochs.
"""

import sys
import time

import torch

torch.set_num_threads(1)
sizes = [int(size) for size in sys.argv[1:]]
samples, batch = 55_000, 100
inputs, labels = torch.rand(samples, sizes[0]), torch.randint(sizes[-1], (samples,))
layers = []
for columns, rows in zip(sizes, sizes[1:]):
    layers += [torch.nn.Linear(columns, rows), torch.nn.ReLU()]
network = torch.nn.Sequential(*layers[:-1])
loss, update = torch.nn.CrossEntropyLoss(), torch.optim.SGD(network.parameters(), lr=0.1)
epochs = []
for _ in range(5):
    start = time.perf_counter()
    for rows in torch.randperm(samples).split(batch):
        update.zero_grad()
        loss(network(inputs[rows]), labels[rows]).backward()
        update.step()
    epochs.append(time.perf_counter() - start)
print(f"{'-'.join(map(str, sizes))}, PyTorch {torch.__version__}: {min(epochs):.2f} s an epoch")
