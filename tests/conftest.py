import os
import signal

# TensorFlow may keep its greetings to itself.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# A shell that starts tests in the background has them ignore Ctrl-C, and so would the processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
