"""Never pay twice: what was paid for is recorded before and after each billed call."""
