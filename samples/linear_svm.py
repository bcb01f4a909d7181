"""What people did with OverFeat: its features, then a linear SVM that learns their own classes.

    python samples/linear_svm.py                          draws stripes and dots, and learns to tell them apart
    python samples/linear_svm.py --net fast photos        photos has a folder of pictures for each class

It prints the accuracy in five-fold cross-validation, fits all pictures, writes what it has learnt to svm.joblib, reads
that back, and classifies pictures with it.  The weights of the network are not in that file.
"""

import argparse
from pathlib import Path

import joblib
import numpy as np
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from overfeat_tools.sklearn import OverfeatTransformer

SIDE = 231


def drawn(count: int, seed: int) -> tuple[list[object], list[str]]:
    """Draw pictures (231, 231, 3) uint8 of four classes; give them and their classes."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    pictures: list[object] = []
    classes = []
    for number in range(count):
        shape, size = divmod(number % 4, 2)
        step = random.uniform(9, 12) if size == 0 else random.uniform(24, 34)
        row, column = (y + random.uniform(0, step), x + random.uniform(0, step))
        if shape == 0:
            angle = random.uniform(0, np.pi)
            inside = (row * np.cos(angle) + column * np.sin(angle)) % step < step / 2
        else:
            inside = np.hypot(row % step - step / 2, column % step - step / 2) < step / 3
        dark, light = random.integers(0, 100, 3), random.integers(150, 256, 3)
        noise = random.normal(0, 8, (SIDE, SIDE, 1))
        pictures.append((np.where(inside[..., None], light, dark) + noise).clip(0, 255).astype(np.uint8))
        classes.append(f"{('narrow', 'wide')[size]} {('stripes', 'dots')[shape]}")
    return pictures, classes


def main() -> None:
    """Learn, save, and use what was learnt."""
    parser = argparse.ArgumentParser(description="Learn classes of pictures from OverFeat's features.")
    parser.add_argument("folder", type=Path, nargs="?", help="a folder with a folder of pictures for each class")
    parser.add_argument("--net", default="tiny", help="the network [default: tiny]")
    parser.add_argument("--out", type=Path, default=Path("svm.joblib"), help="what to write [default: svm.joblib]")
    options = parser.parse_args()
    if options.folder:
        pictures: list[object] = sorted(path for path in options.folder.glob("*/*") if path.is_file())
        classes, others = [Path(str(path)).parent.name for path in pictures], pictures[:10]
    else:
        (pictures, classes), (others, _) = drawn(80, seed=1), drawn(8, seed=2)

    features, classifier = OverfeatTransformer(options.net), make_pipeline(StandardScaler(), LinearSVC(C=0.1))
    rows = features.transform(pictures)  # once, as the network does not learn
    print(f"accuracy: {cross_val_score(classifier, rows, classes, cv=5).mean():.3f}")
    classifier.fit(rows, classes)
    joblib.dump(make_pipeline(features, classifier), options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB")
    for answer in joblib.load(options.out).predict(others):
        print(answer)


if __name__ == "__main__":
    main()
