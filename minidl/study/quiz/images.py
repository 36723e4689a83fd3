"""Quizzes on networks from image to image, and on segmentation."""

from .question import QuizQuestion

IMAGES = (
    QuizQuestion(
        id="fully-convolutional",
        quiz="fully convolutional networks",
        ask="Why can a fully convolutional network take images of any size, and give an image back?",
        choices=(
            "Its input is always scaled to one size.",
            "Its weights do not depend on the size: the same few are used at every position.",
            "Its fully connected layers are as large as the largest image.",
            "It is trained on images of all sizes.",
        ),
        right="b",
        because="A convolution's weights are a kernel, used everywhere; a fully connected layer has a weight for each "
        "pixel. So such networks map images to images: denoising, segmentation, super-resolution.",
        see="docs/chapters/08-upsampling-and-denoising.md",
        proof="""\
import numpy as np
import minidl as md
from minidl import nn
conv, full = nn.Conv2d(1, 1, 3, padding=1, rng=0), nn.Linear(64, 64, rng=0)
sizes = [conv(md.Tensor(np.ones((1, 1, n, n), "float32"))).shape[2] for n in (8, 11)]
try:
    full(md.Tensor(np.ones((1, 11 * 11), "float32")))
    fails = False
except ValueError as error:
    fails = True
    print("fully connected, 11 x 11:", error)
print("convolution:", sizes)
answer = "b" if sizes == [8, 11] and fails else "?"
""",
    ),
    QuizQuestion(
        id="autoencoder",
        quiz="auto-encoders",
        ask="Encoder and decoder, from an image to an image: must the maps in between be smaller than the image?",
        choices=(
            "No. Downsampling is usual, but a denoiser may keep the size throughout.",
            "Yes, otherwise it is no autoencoder.",
            "Yes, otherwise it can learn nothing but the identity.",
            "No, they must be larger.",
        ),
        right="a",
        because="The encoder makes features, the decoder an image of them. Smaller maps see farther, cost less, and "
        "make a compact code; where all detail matters, the size is kept. A denoiser is kept from the identity by its "
        "task.",
        see="python -m tasks denoise",
        proof="""\
import numpy as np
import minidl as md
from minidl import nn
encoder = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, rng=0), nn.ReLU(),
                        nn.Conv2d(8, 8, 3, padding=1, rng=1), nn.ReLU())
decoder = nn.Conv2d(8, 1, 3, padding=1, rng=2)
x = md.Tensor(np.ones((1, 1, 12, 12), "float32"))
code = encoder(x)
print("image", x.shape, " features", code.shape, " image", decoder(code).shape)
answer = "a" if code.shape[2:] == x.shape[2:] and decoder(code).shape == x.shape else "?"
""",
    ),
    QuizQuestion(
        id="downsampling",
        quiz="the benefit of downsampling in the encoder",
        ask="What does downsampling in the encoder buy?",
        choices=(
            "Sharper edges in the output.",
            "That the answer moves along when the image is moved by one pixel.",
            "A larger receptive field with fewer layers, less work, a compact code.",
            "Fewer weights in each layer.",
        ),
        right="c",
        because="Behind a downsampling by 2 the same 3x3 kernel spans twice as much, at a quarter of the positions. "
        "The price is position: the decoder has to find out again where things were.",
        see='minidl receptive-field "c3 p2 c3 p2 c3"',
        proof="""\
import numpy as np
import minidl as md
from minidl import functional as F
sides, work = [], []
for pooled in (False, True):
    x = md.tensor(np.ones((1, 1, 64)), requires_grad=True)
    y, positions = x, 0
    for _ in range(3):
        y = F.conv(y, np.ones((1, 1, 3)), padding=1)
        positions += y.shape[2] ** 2
        y = F.avg_pool(y, 2) if pooled else y
    seen = np.flatnonzero(md.grad(y[0, 0, y.shape[2] // 2], x)[0].numpy())
    sides.append(int(seen[-1] - seen[0] + 1))
    work.append(positions)
print("sides", sides, " work", work[1] / work[0])
answer = "c" if sides[1] > sides[0] and work[1] < work[0] else "?"
""",
    ),
    QuizQuestion(
        id="pooled-work",
        quiz="the benefit of downsampling in the encoder",
        ask="Three 3x3 layers with the same number of maps, a 2x2 pooling after each. How much of the multiply-adds "
        "of three layers without pooling is left (a share, or a percentage with %)?",
        readings={"share": 0.4375},
        mistakes={"a quarter for each layer; the first one works at full size": 0.25, "1/2 in place of 1/4": 7 / 12},
        tolerance=0.002,
        because="(1 + 1/4 + 1/16) / 3: the second layer works at a quarter of the positions, the third at a sixteenth.",
        see="docs/chapters/06-receptive-fields.md",
        proof="""\
from minidl import nn
import minidl as md
convs = [nn.Conv2d(4, 4, 3, padding=1, rng=0) for _ in range(3)]
plain = md.summary(nn.Sequential(*convs), (1, 4, 32, 32))
pooled = md.summary(nn.Sequential(convs[0], nn.MaxPool2d(2), convs[1], nn.MaxPool2d(2), convs[2]), (1, 4, 32, 32))
answer = pooled.macs / plain.macs
print(answer)
""",
    ),
    QuizQuestion(
        id="upsampling",
        quiz="upsampling in the decoder",
        ask="What does a transposed convolution of stride 2 compute?",
        choices=(
            "The inverse of a convolution of stride 2.",
            "Nearest neighbours, then a convolution.",
            "The maximum of each 2x2 window, put back where it came from.",
            "A convolution of its input with zeros inserted between the samples.",
        ),
        right="d",
        because="Its matrix is the transpose of the convolution's: each input puts a scaled copy of the kernel into "
        "the output, two places apart. With fixed kernels it is linear interpolation and others; a network learns "
        "them.",
        see="minidl convmatrix xyz --size 4 --stride 2 --padding 1",
        proof="""\
import numpy as np
from minidl import functional as F
kernel, a = np.array([2.0, 3.0, 5.0]), np.array([7.0, 11.0])
up = F.conv_transpose(a[None, None], kernel[None, None], stride=2).numpy()[0, 0]
zeros = np.convolve([a[0], 0, a[1]], kernel)
back = F.conv(up[None, None], kernel[None, None], stride=2).numpy()[0, 0]
print("transposed", up, " zeros, then convolution", zeros, " and back", back)
answer = "d" if np.array_equal(up, zeros) and not np.array_equal(back, a) else "?"
""",
    ),
    QuizQuestion(
        id="transpose-entry",
        quiz="upsampling in the decoder",
        ask="Kernel x, y, z = 2, 3, 5, stride 2, padding 1. The transposed convolution gets (a, b) = (7, 11). What "
        "stands where the two copies of the kernel meet?",
        readings={"a z + b x": 57},
        mistakes={"a x + b z, the kernel flipped": 69, "a x alone": 14, "the copies one place apart, a y + b x": 43},
        because="X has the rows x y z 0 0 0 and 0 0 x y z 0; the third column, times (a, b), is a z + b x.",
        see="minidl convmatrix xyz --size 4 --stride 2 --padding 1",
        proof="""\
import numpy as np
import minidl as md
from minidl import functional as F
X = md.jacobian(lambda s: F.conv(s, np.array([[[2.0, 3.0, 5.0]]]), stride=2), np.zeros((1, 1, 6))).numpy().reshape(2, 6)
print(X.T @ [7, 11])
answer = (X.T @ [7, 11])[2]
""",
    ),
)

SEGMENTATION = (
    QuizQuestion(
        id="segmentation-loss",
        quiz="loss functions for segmentation",
        ask="Two losses are used for segmentation: cross entropy of every pixel, and soft Dice. How does Dice differ?",
        choices=(
            "It is no sum over pixels: what is wrong at one pixel depends on all others.",
            "It is the intersection over union.",
            "It cannot be differentiated.",
            "It wants probabilities that sum to 1 over the image.",
        ),
        right="a",
        because="D = 2 sum(p g) / (sum(p^2) + sum(g^2)): numerator and denominator run over all pixels, so that an "
        "object counts by its overlap, not by its share of the pixels. Dice is 2 J / (1 + J) of the IoU J.",
        see="minidl assignment start dice-loss; python -m tasks labs imbalance",
        proof="""\
import numpy as np
import minidl as md
from minidl import functional as F
g = np.array([[[1.0, 0.0, 1.0]]])
mixed = {}
for name, loss in (("cross entropy", F.binary_cross_entropy_with_logits),
                   ("Dice", lambda u, g: F.soft_dice_loss(F.sigmoid(u), g))):
    H = md.hessian(lambda u: loss(u, g), np.array([[[0.3, -0.2, 0.1]]])).numpy().reshape(3, 3)
    mixed[name] = bool(np.abs(H - np.diag(np.diag(H))).max() > 1e-12)
print("second derivatives between pixels:", mixed)
answer = "a" if mixed == {"cross entropy": False, "Dice": True} else "?"
""",
    ),
    QuizQuestion(
        id="dice",
        quiz="loss functions for segmentation",
        ask="p = [[0.8, 0.4], [0.2, 0.1]], g = [[1, 1], [0, 0]]. What is the soft Dice, squares in the denominator?",
        readings={"soft Dice": 2.4 / 2.85},
        mistakes={
            "with p and g in the denominator, not squared": 2.4 / 3.5,
            "the Dice after a threshold": 2 / 3,
            "the intersection over union after a threshold": 0.5,
            "without the 2": 1.2 / 2.85,
            "the loss; the Dice has the other sign": -2.4 / 2.85,
        },
        tolerance=0.002,
        because="S = 0.8 + 0.4 = 1.2, Q = 0.85 + 2 = 2.85, D = 2 S / Q = 0.842105.",
        see="docs/chapters/09-dice.md",
        proof="""\
import numpy as np
from minidl import functional as F
p, g = np.array([[[[0.8, 0.4], [0.2, 0.1]]]]), np.array([[[[1.0, 1.0], [0.0, 0.0]]]])
answer = -F.soft_dice_loss(p, g).item()
print(answer)
""",
    ),
    QuizQuestion(
        id="u-net",
        quiz="how U-Net differs from an auto-encoder",
        ask="What has a U-Net that an encoder with a decoder has not?",
        choices=(
            "Pooling.",
            "A classifier at the bottom.",
            "Skips that carry the encoder's maps of each size to the decoder.",
            "Dilated convolutions.",
        ),
        right="c",
        because="The maps of the way down are concatenated with those of the way up at the same size, so that detail "
        "does not have to pass the narrowest point.",
        see="python -m tasks labs skips",
        proof="""\
import numpy as np
import minidl as md
from minidl import functional as F
x = np.random.default_rng(0).random((1, 1, 8))
moved = x.copy()
moved[0, 0, 2], moved[0, 0, 3] = x[0, 0, 3], x[0, 0, 2]                  # two pixels of one cell change places
def code(x):
    return F.avg_pool(x, 2)
def with_skip(x):
    return F.concat([x, F.interpolate(code(x), scale_factor=2)])
same = np.allclose(code(x), code(moved))
told = not np.allclose(with_skip(x), with_skip(moved))
print("the code is the same:", same, " with the skip they are told apart:", told)
answer = "c" if same and told else "?"
""",
    ),
    QuizQuestion(
        id="u-net-paths",
        quiz="the benefits of U-Net's structure",
        ask="The last block of a U-Net gets maps from the skip of the first level and maps that come up from below. "
        "Which bring what?",
        choices=(
            "The skip global, the others local information.",
            "The skip local, the others global information.",
            "Both the same, which makes training robust.",
            "The skip brings the gradient only.",
        ),
        right="b",
        because="In the paper's network an output depends through that skip on 9 x 9 pixels, at full resolution, and "
        "through the way up on 188 or 204 pixels a side. Deciding what needs the second, where the first.",
        see="docs/chapters/10-u-net.md",
        proof="""\
import numpy as np
import minidl as md
from minidl import functional as F

def conv(x):
    return F.conv(x, np.ones((1, 1, 3)), padding=1)

def seen(skip, up):                                                     # two levels, 1-D, all weights 1
    x = md.tensor(np.ones((1, 1, 64)), requires_grad=True)
    first = conv(x)
    below = conv(conv(F.avg_pool(first, 4)))
    y = conv(first * skip + F.interpolate(below, scale_factor=4) * up)
    at = np.flatnonzero(md.grad(y[0, 0, 30], x)[0].numpy())
    return int(at[-1] - at[0] + 1)

local, wide = seen(1, 0), seen(0, 1)
print("through the skip", local, "pixels, from below", wide)
answer = "b" if local < wide else "a"
""",
    ),
    QuizQuestion(
        id="u-net-size",
        quiz="the benefits of U-Net's structure",
        ask="The paper's U-Net has four poolings and no padding. An image of 572 pixels a side gives an output of how "
        "many?",
        readings={"pixels a side": 388},
        mistakes={
            "with padding": 572,
            "what comes up to the last block": 392,
            "the skip at the top": 568,
            "92 taken off once; it is 92 on each side": 480,
        },
        because="Each block takes off 4: 568, 280, 136, 64 and 28 at the bottom; doubled and less 4: 52, 100, 196, "
        "388.",
        see="python -m tasks segment --help; docs/chapters/10-u-net.md",
        proof="""\
import numpy as np
from minidl import functional as F
import minidl as md

def block(x):
    return F.conv(F.conv(x, np.ones((1, 1, 3))), np.ones((1, 1, 3)))

x = md.Tensor(np.ones((1, 1, 572)))
for _ in range(4):
    x = F.max_pool(block(x), 2)
x = block(x)
for _ in range(4):
    x = block(F.conv_transpose(x, np.ones((1, 1, 2)), stride=2))
answer = x.shape[2]
print(answer)
""",
    ),
)
