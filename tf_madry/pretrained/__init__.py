"""Networks to begin with, and their cards (see `models/pretrained.py`).

    python eval.py --checkpoint pretrained/paper

Another one is made of a model directory; what it reaches is then measured, and put on its card:

    python -m tf_madry.pretrained paper --model_dir models/quick --command "python train.py …"
    python eval.py --checkpoint pretrained/paper --k 40 --alpha 0.01 --json pgd.json
    python -m tf_madry.pretrained paper --results pgd.json
"""
