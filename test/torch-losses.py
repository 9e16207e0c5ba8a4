# Losses of distillation and their gradients in PyTorch, in doubles. Reads a question from standard
# input, see torch.ts.

import json
import sys

import torch
import torch.nn.functional as F

question = json.load(sys.stdin)
rows, columns = question["rows"], question["columns"]


def matrix(name):
    return torch.tensor(question[name], dtype=torch.float64).reshape(rows, columns)


weights = torch.tensor(question["weights"], dtype=torch.float64)
target = matrix("target")
t = question["temperature"]


def mean(values):
    return (values * weights).sum() / weights.sum()


def soft(x):
    own, theirs = ((y / t).log_softmax(-1) for y in (x, target))
    return t * t * mean(F.kl_div(own, theirs, log_target=True, reduction="none").sum(-1))


losses = {
    "soft": soft,
    "squared": lambda x: mean(F.mse_loss(x, target, reduction="none").mean(-1)),
    "cosine": lambda x: mean(1 - F.cosine_similarity(x, target, dim=-1)),
}
answer = {}
for name, loss in losses.items():
    own = matrix("own").requires_grad_()
    value = loss(own)
    value.backward()
    answer[name] = {"loss": value.item(), "gradient": own.grad.flatten().tolist()}
print(json.dumps(answer))
