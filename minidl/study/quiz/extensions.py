"""Quizzes on the extensions of convolutional layers, and on transfer."""

from .question import QuizQuestion

LAYERS = (
    QuizQuestion(
        id="residual",
        quiz="the benefit of a residual connection",
        ask="Every layer is x + f(x). What is certain of the gradient on its way back, whatever the f are?",
        choices=(
            "It neither vanishes nor explodes.",
            "It is a sum over paths, and on one of them the gradient arrives unchanged.",
            "It is larger than without the connections.",
            "It does not depend on the f.",
        ),
        right="b",
        because="The Jacobians are I + J. Their product, multiplied out, has a term for every choice of layers gone "
        "through; the one that goes through none is I. Each layer has to learn only what is to be added. It is no "
        "guarantee: with f(x) = -x the paths cancel, with f(x) = x the gradient doubles at each layer.",
        see="docs/chapters/05-shortcuts.md",
        proof="""\
import itertools
import numpy as np
rng = np.random.default_rng(0)
J, g, identity = 0.4 * rng.standard_normal((3, 4, 4)), rng.standard_normal(4), np.eye(4)

def back(factors):
    v = g
    for A in factors[::-1]:
        v = A.T @ v
    return v

whole = back([identity + A for A in J])
rest = sum(back([A if used else identity for A, used in zip(J, path)])
           for path in itertools.product([0, 1], repeat=3) if any(path))
vanishes = not back([identity - identity] * 3).any()
explodes = np.allclose(back([identity + identity] * 3), 8 * g)
print("whole - paths through some layer = g:", np.allclose(whole - rest, g))
print("it can vanish:", vanishes, " and explode:", explodes)
answer = "b" if np.allclose(whole - rest, g) and vanishes and explodes else "?"
""",
    ),
    QuizQuestion(
        id="residual-paths",
        quiz="the benefit of a residual connection",
        ask="The gradient through 10 residual layers is a sum over paths. How many?",
        readings={"paths": 1024},
        mistakes={"the number of layers": 10, "one path for each layer, and the identity": 11, "10 squared": 100},
        because="Each layer is gone through or around: 2^10. With all weights 1 each path counts 1.",
        see="docs/chapters/05-shortcuts.md",
        proof="""\
import minidl as md
x = md.tensor(1.0, requires_grad=True)
y = x
for _ in range(10):
    y = y + 1.0 * y
answer = md.grad(y, x)[0].item()
print(answer)
""",
    ),
    QuizQuestion(
        id="dense",
        quiz="dense connections",
        ask="How does a layer of a dense block get the maps of all layers before it?",
        choices=(
            "Added up.",
            "Multiplied.",
            "Concatenated.",
            "Averaged.",
        ),
        right="c",
        because="Concatenation keeps each map as it was, so that later layers can use it again, and each layer sends "
        "its gradient straight to all before it: the gradient of a map is the sum of the slices from its readers.",
        see="python -m tasks labs dense; docs/chapters/05-shortcuts.md",
        proof="""\
import minidl as md
from minidl import nn
block = nn.DenseBlock(4, 3, 2, bottleneck=None, rng=0)
x = md.tensor([[[[1.0] * 5] * 5] * 4], dtype="float32")
y = block(x)
print(x.shape, "->", y.shape, " the first maps are the input:", bool((y[:, :4] == x).data.all()))
answer = "c" if y.shape[1] == 4 + 2 * 3 and (y[:, :4] == x).data.all() else "?"
""",
    ),
    QuizQuestion(
        id="dense-maps",
        quiz="dense connections",
        ask="64 maps enter a dense block of 6 layers with growth rate 32. How many maps leave it?",
        readings={"maps": 256},
        mistakes={
            "the new ones only; the block's input is passed on, too": 192,
            "what the last layer reads": 224,
            "what the last layer adds": 32,
        },
        because="64 + 6 * 32. The l-th layer reads 64 + 32 (l - 1) of them and adds 32.",
        see="python -m tasks classify --summary --model densenet121",
        proof="""\
from minidl import nn
answer = nn.DenseBlock(64, 32, 6, rng=0).out_channels
print(answer)
""",
    ),
    QuizQuestion(
        id="dilation",
        quiz="the benefit of dilated convolution",
        ask="A 3x3 convolution gets dilation 4 and padding 4 instead of 1 and 1. What changes?",
        choices=(
            "It needs fewer multiply-adds.",
            "It sees farther; weights and the size of the output stay.",
            "It has more weights, for the larger kernel.",
            "The output is a quarter as large.",
        ),
        right="b",
        because="The nine taps move apart: 9 x 9 pixels instead of 3 x 3, at full resolution and the same price. What "
        "lies between the taps is skipped, and stacks with a common divisor never see it (gridding).",
        see="python -m tasks labs dilation",
        proof="""\
import numpy as np
import minidl as md
from minidl import nn
spans, shapes, weights = [], [], []
for dilation in (1, 4):
    conv = nn.Conv2d(1, 1, 3, padding=dilation, dilation=dilation, rng=0)
    x = md.tensor(np.ones((1, 1, 21, 21)), requires_grad=True, dtype="float32")
    y = conv(x)
    rows = np.flatnonzero(md.grad(y[0, 0, 10, 10], x)[0].numpy()[0, 0].any(axis=1))
    spans.append(int(rows[-1] - rows[0] + 1))
    shapes.append(y.shape)
    weights.append(conv.weight.size)
print("spans", spans, " sizes", shapes, " weights", weights)
answer = "b" if spans == [3, 9] and shapes[0] == shapes[1] and weights[0] == weights[1] else "?"
""",
    ),
    QuizQuestion(
        id="dilation-field",
        quiz="the benefit of dilated convolution",
        ask="Three 3x3 convolutions with dilations 1, 2, 2. How large is the receptive field?",
        readings={"its side in pixels": 11, "its area in pixels": 121},
        mistakes={"without dilation": 7, "with dilations 1, 2, 4": 15, "the dilations added up, twice": 10},
        because="r grows by d (k - 1) j at each layer: 1 + 2 + 4 + 4, as all strides are 1.",
        see='minidl receptive-field "c3 c3d2 c3d2"',
        proof="""\
import numpy as np
import minidl as md
from minidl import functional as F
x = md.tensor(np.ones((1, 1, 21)), requires_grad=True)
y = x
for dilation in (1, 2, 2):
    y = F.conv(y, np.ones((1, 1, 3)), dilation=dilation, padding=dilation)
seen = np.flatnonzero(md.grad(y[0, 0, 10], x)[0].numpy())
side = int(seen[-1] - seen[0] + 1)
answer = side, side**2
print(answer)
""",
    ),
    QuizQuestion(
        id="pooled-field",
        quiz="the benefit of dilated convolution",
        ask="Three 3x3 convolutions, each followed by a downsampling by 2. How large is the side of the receptive "
        "field?",
        readings={
            "2x2 pooling, read after the last one": 22,
            "2x2 pooling, read before the last one": 18,
            "every second pixel kept, or stride 2": 15,
        },
        mistakes={"without downsampling": 7, "7 times 2": 14, "7 times 2^3": 56},
        because="r grows by (k - 1) j, and j doubles at each downsampling. A pooling window is itself two wide, which "
        "adds j; leaving out every second pixel adds nothing.",
        see='minidl receptive-field "c3 p2 c3 p2 c3 p2"',
        proof="""\
import numpy as np
import minidl as md
from minidl import functional as F

def side(*layers):
    x = md.tensor(np.ones((1, 1, 80)), requires_grad=True)
    y = x
    for layer in layers:
        y = layer(y)
    seen = np.flatnonzero(md.grad(y[0, 0, y.shape[2] // 2], x)[0].numpy())
    return int(seen[-1] - seen[0] + 1)

def conv(x):
    return F.conv(x, np.ones((1, 1, 3)))

def pool(x):
    return F.avg_pool(x, 2)

def skip(x):
    return x[:, :, ::2]

answer = side(*[conv, pool] * 3), side(conv, pool, conv, pool, conv), side(*[conv, skip] * 3)
print(answer)
""",
    ),
)

MODELS = (
    QuizQuestion(
        id="transfer",
        quiz="what transfer learning means",
        ask="What is transfer learning?",
        choices=(
            "Training one network on several data sets at once.",
            "Training the same architecture again, from new random weights.",
            "Letting one network label the data for another.",
            "Taking a network trained on another task with the same kind of input, and training its head, or also "
            "later layers, on one's own.",
        ),
        right="d",
        because="Features of early layers serve many tasks. With few data only the head is trained, on features that "
        "stay; with more, later layers or all are tuned, from weights that are a good start.",
        see="python -m tasks transfer",
        proof="""\
import numpy as np
import minidl as md
from minidl import functional as F, nn, optim
rng = np.random.default_rng(0)
trained, head = nn.Conv2d(1, 4, 3, rng=1), nn.Linear(4, 2, rng=2)      # features of another task, a new head
trained.weight.requires_grad = trained.bias.requires_grad = False
kept, before = trained.weight.data.copy(), head.weight.data.copy()
x = md.tensor(rng.random((6, 1, 8, 8)), dtype="float32")
F.cross_entropy(head(F.global_avg_pool(F.relu(trained(x)))), [0, 1] * 3).backward()
optim.SGD([p for p in head.parameters()], lr=0.1).step()
same, moved = np.array_equal(kept, trained.weight.data), not np.array_equal(before, head.weight.data)
print("features kept:", same, " head trained:", moved)
answer = "d" if same and moved else "?"
""",
    ),
    QuizQuestion(
        id="frozen",
        quiz="what transfer learning means",
        ask="All parameters of the feature layers ask for no gradient; the network is in training mode. What of those "
        "layers may change all the same?",
        choices=(
            "Nothing.",
            "The biases.",
            "The running means and variances of batch norm.",
            "The weights, by weight decay.",
        ),
        right="c",
        because="They are no parameters: they are updated by the forward pass. Frozen layers belong in eval mode.",
        see="docs/chapters/07-networks-and-transfer.md",
        proof="""\
import numpy as np
import minidl as md
from minidl import nn
norm = nn.BatchNorm2d(2)
for p in norm.parameters():
    p.requires_grad = False
weight, mean = norm.weight.data.copy(), norm.running_mean.copy()
norm(md.tensor(np.random.default_rng(0).random((4, 2, 3, 3)), dtype="float32"))
print("running mean", mean, "->", norm.running_mean)
answer = "c" if np.array_equal(weight, norm.weight.data) and not np.array_equal(mean, norm.running_mean) else "?"
""",
    ),
)
