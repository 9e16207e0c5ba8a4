"""Writes training-losses.json: ten AdamW steps of tiny models in PyTorch, from weights and data given by formulas.
Made with torch 1.13.1 on the CPU:  python3 test/vectors/training-losses.py > test/vectors/training-losses.json"""
import json
import math
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
V, D, L, H, DI, PROMPT, LENGTH, ROWS = 13, 8, 2, 2, 16, 3, 5, 6
T = PROMPT + LENGTH - 1
STEPS, RATE, WARMUP, FINAL, DECAY, CLIP = 10, 0.01, 3, 0.1, 0.05, 1.0


def shapes(kind):
    s = [("embedding.weight", (V, D)), ("position.weight", (T, D))]
    for i in range(L):
        n = f"layers.{i}"
        if kind == "vanilla":
            s += [(f"{n}.attention.norm.scale", (D,)), (f"{n}.attention.norm.shift", (D,))]
            for p in ("query", "key", "value", "output"):
                s += [(f"{n}.attention.{p}.weight", (D, D)), (f"{n}.attention.{p}.bias", (D,))]
            s += [(f"{n}.norm.scale", (D,)), (f"{n}.norm.shift", (D,))]
        else:
            s += [(f"{n}.attention.constant", (H, T, T))]
        s += [(f"{n}.u.weight", (D, DI)), (f"{n}.u.bias", (DI,)), (f"{n}.o.weight", (DI, D)), (f"{n}.o.bias", (D,))]
    if kind == "vanilla":
        s += [("norm.scale", (D,)), ("norm.shift", (D,))]
    return s


def start(name, shape):
    seed = sum(map(ord, name))
    i = torch.arange(1, math.prod(shape) + 1)
    x = 0.3 * torch.sin(0.37 * i + 0.11 * seed)
    return (x + (1 if name.endswith(".scale") else 0)).to(torch.float32).to(torch.float64).reshape(shape)


def ids(count, shift):
    return [[(7 * r + 5 * c + shift + r * c) % (V - 3) + 3 for c in range(count)] for r in range(ROWS)]


def data():
    lengths = [LENGTH - r % 2 for r in range(ROWS)]
    outputs = [(o[: n - 1] + [2]) for o, n in zip(ids(LENGTH, 4), lengths)]
    return ids(PROMPT, 0), outputs


def heads(x):
    return x.view(x.shape[0], x.shape[1], H, D // H).transpose(1, 2)


def vanilla(w, x, i):
    n = f"layers.{i}"
    norm = lambda y, m: F.layer_norm(y, (D,), w[m + ".scale"], w[m + ".shift"], 1e-5)
    lin = lambda y, m: y @ w[m + ".weight"] + w[m + ".bias"]
    y = norm(x, f"{n}.attention.norm")
    q, k, v = (heads(lin(y, f"{n}.attention.{p}")) for p in ("query", "key", "value"))
    a = q @ k.transpose(-1, -2) / math.sqrt(D // H)
    a = a.masked_fill(torch.triu(torch.ones(x.shape[1], x.shape[1]), 1) > 0, float("-inf")).softmax(-1)
    x = x + lin((a @ v).transpose(1, 2).reshape(x.shape), f"{n}.attention.output")
    return x + lin(F.gelu(lin(norm(x, f"{n}.norm"), f"{n}.u"), approximate="tanh"), f"{n}.o")


def merge(w, x, i):
    n = f"layers.{i}"
    s = x.shape[1]
    a = (torch.tril(w[f"{n}.attention.constant"])[:, :s, :s] @ heads(x)).transpose(1, 2).reshape(x.shape)
    u = a @ w[f"{n}.u.weight"] + w[f"{n}.u.bias"]
    return F.layer_norm(x + (0.125 * u * u + 0.25 * u + 0.5) @ w[f"{n}.o.weight"] + w[f"{n}.o.bias"], (D,), eps=1e-5)


def states(kind, w, x):
    """Results of the layers, the last one's behind the last norm."""
    x = x + w["position.weight"][: x.shape[1]]
    out = []
    for i in range(L):
        x = (vanilla if kind == "vanilla" else merge)(w, x, i)
        out.append(x)
    if kind == "vanilla":
        out[-1] = F.layer_norm(x, (D,), w["norm.scale"], w["norm.shift"], 1e-5)
    return out


def body(kind, w, x):
    return states(kind, w, x)[-1]


def taught(kind, w, x, weights):
    """Loss of the states on given tokens against those of a fixed teacher."""
    t = {n: start(n, s) for n, s in shapes("vanilla")}
    ids, E = x, w["embedding.weight"]
    own = [h[:, PROMPT - 1 :] for h in states("merge", w, E[ids])]
    with torch.no_grad():
        theirs = [h[:, PROMPT - 1 :] for h in states("vanilla", t, t["embedding.weight"][ids])]
    mean = lambda rows: (rows * weights).sum() / weights.sum()
    if kind == "soft":
        p, q = ((h @ e.T / 2).log_softmax(-1) for h, e in ((own[-1], E), (theirs[-1], t["embedding.weight"])))
        return 4 * mean(F.kl_div(p, q, log_target=True, reduction="none").sum(-1))
    if kind == "squared":
        return mean(F.mse_loss(own[-1], theirs[-1], reduction="none").mean(-1))
    return sum(mean(1 - F.cosine_similarity(a, b, dim=-1)) for a, b in zip(own, theirs)) / L


def loss_of(kind, w, prompts, outputs, lengths):
    E = w["embedding.weight"]
    if kind in ("soft", "squared", "cosine"):
        ends = torch.tensor([[float(c < n) for c in range(LENGTH)] for n in lengths])
        own = taught(kind, w, torch.cat([prompts, outputs[:, :-1]], 1), ends)
        return 0.5 * loss_of("merge", w, prompts, outputs, lengths) + 0.7 * own
    weights = torch.tensor([[1.0 if c < n else (0.0 if kind == "vanilla" else 0.05) for c in range(LENGTH)] for n in lengths])
    if kind != "rollout":
        h = body(kind, w, E[torch.cat([prompts, outputs[:, :-1]], 1)])[:, PROMPT - 1 :]
    else:
        x = E[prompts]
        for _ in range(LENGTH - 1):
            x = torch.cat([x, body(kind, w, x)[:, -1:]], 1)
        h = body(kind, w, x)[:, PROMPT - 1 :]
    ce = F.cross_entropy((h @ E.T).reshape(-1, V), outputs.reshape(-1), reduction="none").view_as(weights)
    loss = (ce * weights).sum() / weights.sum()
    if kind == "rollout":
        cos = 1 - F.cosine_similarity(h, E[outputs].detach(), dim=-1)
        loss = loss + 0.5 * (cos * weights).sum() / weights.sum()
    return loss


def rate(step):
    if step < WARMUP:
        return RATE * (step + 1) / WARMUP
    p = (step - WARMUP) / (STEPS - WARMUP)
    return RATE * (FINAL + (1 - FINAL) * 0.5 * (1 + math.cos(math.pi * p)))


def decays(name):
    return not (name.endswith((".bias", ".scale", ".shift", ".constant")) or name == "position.weight")


def run(kind):
    w = {n: start(n, s).requires_grad_() for n, s in shapes(kind)}
    groups = [{"params": [w[n] for n in w if decays(n) == d], "weight_decay": DECAY if d else 0.0} for d in (True, False)]
    opt = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), eps=1e-8)
    prompts, outputs = data()
    lengths = [len(o) for o in outputs]
    prompts, outputs = torch.tensor(prompts), torch.tensor([o + [2] * (LENGTH - len(o)) for o in outputs])
    losses = []
    for step in range(STEPS):
        for g in opt.param_groups:
            g["lr"] = rate(step)
        loss = loss_of(kind, w, prompts, outputs, lengths)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(w.values()), CLIP)
        opt.step()
        losses.append(loss.item())
    return losses


prompts, outputs = data()
print(json.dumps({
    "origin": "test/vectors/training-losses.py, torch " + torch.__version__,
    "prompts": prompts, "outputs": outputs,
    "losses": {kind: run(kind) for kind in ("vanilla", "merge", "rollout", "soft", "squared", "cosine")},
}))
