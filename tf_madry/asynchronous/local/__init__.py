"""Workers on this machine: processes and shared memory."""
