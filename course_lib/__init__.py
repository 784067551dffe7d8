"""Fine-Tuning GPT, Hands-On: the library behind the course.

Importing this package loads no torch; each room loads what it needs when used.
"""

import logging

__version__ = "0.1.0"

# transformers imports torchao wherever it is installed. On a machine without a GPU torchao then
# reports its CUDA kernels as not loadable, and torch that torchao registers types in an old way:
# nothing a learner could act on, in every notebook.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
