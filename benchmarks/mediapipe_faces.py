"""Faces that MediaPipe's detector finds, for benchmarks/crop.py; it runs where MediaPipe is.

    python mediapipe_faces.py FOLDER

Prints one line of JSON: for each PNG of the folder, by name, the left eye, the right eye (as seen)
and the mouth of each face, as fractions of the picture's sides. Both models of the package look,
that for faces within two metres and that for faces within five, and the better one answers.
"""

import json
import pathlib
import sys

import mediapipe
import numpy as np
from PIL import Image

folder = pathlib.Path(sys.argv[1])
solution = mediapipe.solutions.face_detection.FaceDetection
models = [solution(model_selection=which, min_detection_confidence=0.5) for which in (0, 1)]
answers = []
for path in sorted(folder.glob("*.png")):
    picture = np.asarray(Image.open(path).convert("RGB"))
    found = [model.process(picture).detections or [] for model in models]
    best = max(found, key=lambda faces: sum(face.score[0] for face in faces))
    points = [face.location_data.relative_keypoints for face in best]
    # Its points are the subject's right eye, left eye, nose, mouth and ears.
    answers.append([[(of[k].x, of[k].y) for k in (0, 1, 3)] for of in points])
print(json.dumps(answers))
