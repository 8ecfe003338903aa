"""The leaderboards of the MNIST challenge, as its README has them."""

EPSILON = 0.3

# Accuracy of the challenge's secret model on all 10,000 test images.
WHITE_BOX = {
    "Guided Local Attack": 0.8800, "PCROS": 0.8804,
    "adaptive Distributionally Adversarial Attack": 0.8806,
    "PGD with output diversified initialization": 0.8813, "Square": 0.8825,
    "quantized gradients": 0.8832, "MultiTargeted": 0.8836, "Interval Attacks (2)": 0.8842,
    "Distributionally Adversarial Attack, several hyperparameters": 0.8856,
    "Interval Attacks": 0.8859,
    "Distributionally Adversarial Attack": 0.8879, "logit difference, best target": 0.8885,
    "PGD-100, cross-entropy, 50 restarts": 0.8962, "PGD-100, CW loss, 50 restarts": 0.8971,
    "PGD-100, cross-entropy": 0.9252, "PGD-100, CW loss": 0.9304, "FGSM, cross-entropy": 0.9636,
    "FGSM, CW loss": 0.9640}
BLACK_BOX = {
    "AdvGAN": 0.9276, "PGD, three adversarially trained copies": 0.9354,
    "FGSM on the CW loss, model B": 0.9436,
    "FGSM on the CW loss, natural model": 0.9608, "PGD, natural model": 0.9681,
    "Gaussian filter": 0.9733,
    "FGSM, adversarially trained model": 0.9766, "PGD, adversarially trained model": 0.9779}
BOARDS = {"white-box": WHITE_BOX, "black-box": BLACK_BOX}

AUTOATTACK = 0.8850  # on the same model (Croce and Hein 2020)


def place(accuracy: float, board: dict[str, float]) -> str:
  """Where an accuracy would stand on a leaderboard, in words."""
  better = [name for name in board if board[name] <= accuracy]
  worse = [name for name in board if board[name] > accuracy]
  around = [f"after {better[-1]} ({board[better[-1]]:.2%})"] if better else []
  around += [f"before {worse[0]} ({board[worse[0]]:.2%})"] if worse else []
  return f"place {len(better) + 1} of {len(board) + 1}, {', '.join(around)}"
