import os

# Tests are small: two threads of one process are all they need, and TensorFlow may keep its greetings to itself.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
