"""The least program that classifies with ONNX Runtime: a PPM picture on stdin, five classes on stdout.

onnx_classify.py MODEL THREADS < PPM
"""

import sys

import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
data = sys.stdin.buffer.read()
_, width, height, _ = data.split(maxsplit=4)[:4]
pixels = np.frombuffer(data[-3 * int(width) * int(height) :], np.uint8).reshape(int(height), int(width), 3)
pictures = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)
probabilities = session.run(None, {"pictures": pictures})[0].ravel()
for index in np.argsort(-probabilities)[:5]:
    print(index, f"{probabilities[index]:g}")
