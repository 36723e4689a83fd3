"""Quizzes on detection, on instance segmentation, and on looking inside of a network."""

from .question import QuizQuestion

DETECTION = (
    QuizQuestion(
        id="two-stages",
        quiz="how Faster R-CNN works",
        ask="What does the second stage of Faster R-CNN work on?",
        choices=(
            "For each proposal, a piece of the image, scaled and sent through the backbone again.",
            "For each proposal, a piece of the feature maps, brought to one size.",
            "The whole feature maps, once.",
            "The anchors, without features.",
        ),
        right="b",
        because="The backbone runs once. The region proposal network says of each anchor: object or not, and how far "
        "off. What is left after non-maximum suppression is cut out of the maps at a fixed size, classified, and "
        "refined.",
        see="python -m tasks detect --help",
        proof="""\
import numpy as np
from minidl import functional as F
maps = np.random.default_rng(0).random((1, 8, 20, 30))
proposals = np.array([[0, 1.5, 2.0, 9.2, 6.1], [0, 10.0, 3.0, 28.0, 19.0]])
pieces = F.roi_align(maps, proposals, 7)
print("two boxes of different sizes:", pieces.shape)
answer = "b" if pieces.shape == (2, 8, 7, 7) else "?"
""",
    ),
    QuizQuestion(
        id="rpn-outputs",
        quiz="how Faster R-CNN works",
        ask="Nine anchors at each cell of a map of 38 x 50. How many numbers does the region proposal network give?",
        readings={
            "one score for each anchor (a sigmoid)": 85500,
            "two scores for each anchor (a softmax, the paper)": 102600,
        },
        mistakes={"the anchors": 17100, "four steps without a score": 68400, "one anchor for each cell": 9500},
        because="38 * 50 * 9 anchors, each with four steps and one score, or two.",
        see="docs/chapters/11-detection.md",
        proof="""\
import minidl as md
from minidl import nn
maps = md.tensor([[[[0.0] * 50] * 38] * 4], dtype="float32")
answer = [nn.Conv2d(4, 9 * (4 + scores), 1, rng=0)(maps).size for scores in (1, 2)]
print(answer)
""",
    ),
    QuizQuestion(
        id="iou",
        quiz="how Faster R-CNN works",
        ask="Boxes (x1, y1, x2, y2) = (0, 0, 4, 4) and (2, 1, 6, 5). What is their intersection over union?",
        readings={"IoU": 6 / 26},
        mistakes={
            "over the sum of the areas": 6 / 32,
            "the Dice": 12 / 32,
            "with 1 added to each side": 12 / 38,
        },
        tolerance=0.005,
        because="They share 2 x 3 = 6 of 16 + 16 - 6 = 26.",
        see="docs/chapters/11-detection.md",
        proof="""\
from minidl import functional as F
answer = F.box_iou([[0.0, 0, 4, 4]], [[2.0, 1, 6, 5]]).item()
print(answer)
""",
    ),
    QuizQuestion(
        id="one-stage",
        quiz="how YOLO and SSD work",
        ask="What do YOLO and SSD leave out, compared with Faster R-CNN?",
        choices=(
            "The backbone.",
            "Non-maximum suppression.",
            "The second stage: every location gives classes and boxes at once.",
            "The regression of boxes.",
        ),
        right="c",
        because="One pass: each location scores the classes and steps from its boxes. It is faster; most boxes are "
        "easy background, which has to be weighed down. In the study that the course quotes it is less accurate.",
        see="python -m tasks detect --help",
        proof="""\
import minidl as md
from minidl import nn
maps = md.tensor([[[[0.0] * 7] * 7] * 16], dtype="float32")
head = nn.Conv2d(16, 3 * (4 + 21), 3, padding=1, rng=0)                  # 3 boxes a cell, 20 classes and background
out = head(maps).transpose(0, 2, 3, 1).reshape(7 * 7 * 3, 25)
print("for each box at once:", out[:, :4].shape, "steps and", out[:, 4:].shape, "scores")
answer = "c" if out.shape == (147, 25) else "?"
""",
    ),
    QuizQuestion(
        id="yolo-outputs",
        quiz="how YOLO and SSD work",
        ask="YOLO (first version): 7 x 7 cells, 2 boxes for each, 20 classes. How many numbers come out?",
        readings={"numbers": 1470},
        mistakes={
            "scores for each box; YOLO has them for each cell": 2450,
            "a class for background; YOLO has a confidence instead": 1519,
            "the confidence of each box left out": 1372,
        },
        because="7 * 7 * (5 * 2 + 20): each box has four numbers and a confidence, each cell one set of class scores.",
        see="docs/chapters/11-detection.md",
        proof="""\
import minidl as md
from minidl import nn
answer = nn.Conv2d(16, 5 * 2 + 20, 1, rng=0)(md.tensor([[[[0.0] * 7] * 7] * 16], dtype="float32")).size
print(answer)
""",
    ),
    QuizQuestion(
        id="instances",
        quiz="how instance segmentation works",
        ask="Two cows touch. How does Mask R-CNN tell them apart?",
        choices=(
            "It detects each, and segments within each detected box.",
            "It labels every pixel with its class and takes connected pieces.",
            "It has a class for each cow.",
            "It cannot.",
        ),
        right="a",
        because="Pixels of one class that touch are one piece. A box for each object comes first; a small network "
        "then says of each pixel of the box whether it belongs to the object.",
        see="python -m tasks detect --help",
        proof="""\
import numpy as np
from scipy.ndimage import label
cows = np.zeros((6, 10), bool)
cows[1:5, 1:5] = cows[1:5, 5:9] = True
boxes = [(1, 1, 5, 5), (5, 1, 9, 5)]
masks = [cows[y1:y2, x1:x2] for x1, y1, x2, y2 in boxes]
print("connected pieces:", label(cows)[1], " masks in boxes:", len(masks))
answer = "a" if label(cows)[1] == 1 and all(m.all() for m in masks) else "?"
""",
    ),
)

INSIDE = (
    QuizQuestion(
        id="saliency",
        quiz="what a saliency map is",
        ask="What is a saliency map?",
        choices=(
            "The activations of the first layer.",
            "For every pixel, how much it contributes to the output.",
            "The probability of each class at every pixel.",
            "The weights of the last layer.",
        ),
        right="b",
        because="Which pixels carry the score, and how much? For a linear model the answer is exact: weight times "
        "pixel, and the shares add up to the score. For a network it depends on what one means by contributing.",
        see="docs/chapters/12-looking-inside.md",
        proof="""\
import numpy as np
import minidl as md
x = md.tensor(np.random.default_rng(0).random(6), requires_grad=True)
w = np.array([1.0, -2.0, 0.0, 3.0, 0.5, 0.0])
score = (x * w).sum()
shares = x.numpy() * md.grad(score, x)[0].numpy()
print("shares", shares.round(3), " their sum", shares.sum().round(6), " score", round(score.item(), 6))
answer = "b" if np.isclose(shares.sum(), score.item()) and shares[2] == 0 else "?"
""",
    ),
    QuizQuestion(
        id="relu-rules",
        quiz="methods for saliency maps, for and against",
        ask="f = 2 went into a relu, R = -3 comes back to it. What does guided backpropagation pass on?",
        readings={"guided": 0},
        mistakes={"what the gradient passes on": -3, "the absolute value": 3, "f times R": -6},
        because="guided: (f > 0)(R > 0) R = 0. The gradient, (f > 0) R, passes on -3; deconvnet, (R > 0) R, nothing.",
        see="docs/chapters/12-looking-inside.md",
        proof="""\
import minidl as md
from minidl import functional as F
f = md.tensor(2.0, requires_grad=True)
y = F.relu(f)
for rule in ("gradient", "deconvnet", "guided"):
    with md.relu_rule(rule):
        answer = md.grad(y, f, -3.0, retain_graph=True)[0].item()
    print(rule, answer)
""",
    ),
    QuizQuestion(
        id="occlusion",
        quiz="methods for saliency maps, for and against",
        ask="Occlusion with a patch of 32 x 32, moved by 8 pixels, inside an image of 224 x 224. How many forward "
        "passes?",
        readings={"one for each position": 625, "and one for the whole image": 626},
        mistakes={
            "224/8 positions a side; the last ones stick out": 784,
            "patches side by side": 49,
            "one for each pixel": 50176,
            "one side only": 25,
        },
        because="((224 - 32) / 8 + 1)^2 = 25^2. The gradient takes one backward pass for all pixels, but is noisy.",
        see="docs/chapters/12-looking-inside.md",
        proof="""\
import minidl as md
from minidl import functional as F
positions = F.unfold(md.tensor([[[[0.0] * 224] * 224]], dtype="float32"), 32, stride=8).shape[2]
answer = positions, positions + 1
print(answer)
""",
    ),
    QuizQuestion(
        id="cam",
        quiz="methods for saliency maps, for and against",
        ask="Maps of 7 x 7, global average pooling, one linear layer, the score before the softmax. Grad-CAM is "
        "relu(CAM) divided by what?",
        readings={"positions": 49},
        mistakes={"one side": 7, "nothing; its weights are w / Z": 1},
        because="Grad-CAM's weight of a map is the mean of d score / d A = w / Z over the Z = 49 positions: w / Z. "
        "CAM needs just this kind of network, Grad-CAM any; after the softmax they are no longer proportional.",
        see="docs/chapters/12-looking-inside.md",
        proof="""\
import numpy as np
import minidl as md
from minidl import functional as F
rng = np.random.default_rng(0)
A, w = md.tensor(rng.random((1, 4, 7, 7)), requires_grad=True), np.array([[1.0, -0.5, 2.0, 0.3]])
alpha = md.grad(F.linear(F.global_avg_pool(A), w)[0, 0], A)[0].numpy()[0].mean(axis=(1, 2))
grad_cam = np.maximum(np.tensordot(alpha, A.numpy()[0], 1), 0)
cam = np.maximum(np.tensordot(w[0], A.numpy()[0], 1), 0)
answer = round(cam.max() / grad_cam.max(), 9)
print(answer)
""",
    ),
    QuizQuestion(
        id="sanity",
        quiz="methods for saliency maps, for and against",
        ask="The upper layers of a network are replaced by random ones. Which map hardly changes?",
        choices=(
            "The gradient.",
            "Guided backpropagation.",
            "CAM.",
            "Occlusion.",
        ),
        right="b",
        because="With only positive terms on the way back nothing cancels, and it draws the image's edges, whatever "
        "the class. So it cannot explain what those layers learned; nor can guided Grad-CAM's fine detail.",
        see="docs/chapters/12-looking-inside.md",
        proof="""\
import numpy as np
from scipy.stats import spearmanr
import minidl as md
from minidl import nn

def network(seed):
    rng, layers = np.random.default_rng(seed), []
    for inputs in (1, 16, 16):
        layers += [nn.Conv2d(inputs, 16, 3, padding=1, rng=rng), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 36, 32, rng=rng), nn.ReLU(),
                         nn.Linear(32, 5, rng=rng)).to("float64")

def maps(net):
    x = md.tensor(image, requires_grad=True)
    score, found = net(x)[0, 2], {}
    for rule in ("gradient", "guided"):
        with md.relu_rule(rule):
            found[rule] = abs(md.grad(score, x, retain_graph=True)[0].numpy()).ravel()
    return found

image = np.random.default_rng(0).random((1, 1, 12, 12))
image[0, 0, 3:8, 4:9] += 1
net, other = network(1), dict(network(2).named_parameters())
before = maps(net)
for name, parameter in list(net.named_parameters())[-4:]:
    parameter.data = other[name].data
after = maps(net)
kept = {rule: round(float(spearmanr(before[rule], after[rule])[0]), 2) for rule in before}
print("rank correlation before and after:", kept)
answer = "b" if kept["guided"] > 0.6 > 0.4 > kept["gradient"] else "?"
""",
    ),
)
