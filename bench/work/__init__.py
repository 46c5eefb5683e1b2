"""What one request costs in work that can be counted: calls, bytecodes, system calls (``python -m bench.work``)."""
