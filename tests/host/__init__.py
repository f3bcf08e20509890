"""Host tier: what needs neither Triton nor a GPU."""
